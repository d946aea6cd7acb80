# The page: as the program serves it, and its own tests on Node and in Chromium.
add_executable(site_test ${CMAKE_CURRENT_LIST_DIR}/site_test.cpp)
target_include_directories(site_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/..)
target_link_libraries(site_test PRIVATE
  ddpm::site ddpm_warnings ZLIB::ZLIB GTest::gtest GTest::gmock GTest::gtest_main)
target_compile_options(site_test PRIVATE $<$<CONFIG:Release>:-O1>)
add_test(NAME site_test COMMAND site_test)
set_tests_properties(site_test PROPERTIES LABELS fast)
if(DDPM_SITE_DIST)
  foreach(name check test e2e)
    add_test(NAME web_${name} COMMAND python3 ${PROJECT_SOURCE_DIR}/tests/e2e/web_test.py
             ${DDPM_NPM} ${name} ${DDPM_SITE_DIST})
    set_tests_properties(web_${name} PROPERTIES LABELS slow SKIP_RETURN_CODE 77)
  endforeach()
endif()
