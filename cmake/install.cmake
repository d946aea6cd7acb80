# cmake --install: headers, the layers' libraries, the program and a package that find_package(ddpm)
# finds. A consumer links ddpm::ddpm, or single layers.
include(CMakePackageConfigHelpers)
get_property(layers GLOBAL PROPERTY DDPM_LAYERS)
add_library(ddpm_all INTERFACE)
target_link_libraries(ddpm_all INTERFACE ${layers})
set_target_properties(ddpm_all PROPERTIES EXPORT_NAME ddpm)
add_library(ddpm::ddpm ALIAS ddpm_all)

install(TARGETS ${layers} ddpm_all ddpm_options EXPORT ddpmTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY src/ddpm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
if(DDPM_BUILD_APPS)
  install(TARGETS ddpm_app RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ddpm)
install(EXPORT ddpmTargets NAMESPACE ddpm:: DESTINATION ${package_dir})
configure_package_config_file(cmake/ddpmConfig.cmake.in ${PROJECT_BINARY_DIR}/ddpmConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ddpmConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ddpmConfig.cmake ${PROJECT_BINARY_DIR}/ddpmConfigVersion.cmake
              cmake/FindWebP.cmake DESTINATION ${package_dir})
