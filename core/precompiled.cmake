# What nearly every source includes, precompiled once for core/ and provisioner/ and once for agent/, whose options are others.
# A third of the time of a build from nothing goes without it.
function(add_precompiled_headers name)
  add_library(${name} OBJECT core/precompiled.cpp)
  target_compile_options(${name} PRIVATE ${ARGN})
  target_link_libraries(${name} PRIVATE fleet_options)
  target_precompile_headers(${name} PRIVATE core/precompiled.hpp)
endfunction()

# precompile_headers(NAME FOLDER …): the libraries in and below these folders share the precompiled headers of that name.
function(precompile_headers name)
  foreach(folder ${ARGN})
    get_property(below DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
    precompile_headers(${name} ${below})
    get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
    foreach(target ${targets})
      get_target_property(type ${target} TYPE)
      if(type MATCHES "STATIC|MODULE")
        target_precompile_headers(${target} REUSE_FROM ${name})
        # g++ 12.2 no longer knows that these false alarms about std::string come from a system header.
        target_compile_options(${target} PRIVATE -Wno-array-bounds -Wno-stringop-overflow)
      endif()
    endforeach()
  endforeach()
endfunction()
