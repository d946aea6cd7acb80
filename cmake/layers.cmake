include(GNUInstallDirs)

# ddpm_add_layer(diffusion DEPENDS core SOURCES noise_schedule.cpp PRIVATE PNG::PNG)
# makes the library ddpm_diffusion, alias ddpm::diffusion. PRIVATE: third-party targets that no
# header of the layer shows. Without SOURCES the layer is headers only. HOT: its own loops
# count, so that it is compiled with -O3.
function(ddpm_add_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "HOT" "" "SOURCES;DEPENDS;PUBLIC;PRIVATE")
  list(TRANSFORM arg_DEPENDS PREPEND ddpm::)
  set(scope PUBLIC)
  if(arg_SOURCES)
    add_library(ddpm_${name} STATIC ${arg_SOURCES})
    target_link_libraries(ddpm_${name} PRIVATE $<BUILD_INTERFACE:ddpm_warnings> ${arg_PRIVATE})
    if(arg_HOT)
      set(hot HOT)
    endif()
    ddpm_share_compile_work(ddpm_${name} ${hot})
  else()
    set(scope INTERFACE)
    add_library(ddpm_${name} INTERFACE)
  endif()
  target_include_directories(ddpm_${name} ${scope}
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(ddpm_${name} ${scope} ddpm_options torch ${arg_DEPENDS} ${arg_PUBLIC})
  set_target_properties(ddpm_${name} PROPERTIES EXPORT_NAME ${name})
  add_library(ddpm::${name} ALIAS ddpm_${name})
  set_property(GLOBAL APPEND PROPERTY DDPM_LAYERS ddpm_${name})
endfunction()
