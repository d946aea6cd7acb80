# Routes beside the native ones: health and metrics, the forward process and edits of what clients send.
ddpm_add_test(api NAME uploads_test LABELS fast
  SOURCES all_routes_test.cpp edits_conditioned_test.cpp edits_test.cpp forward_test.cpp ops_test.cpp)
if(DDPM_BUILD_APPS)
  add_test(NAME serve_uploads_test COMMAND ${PROJECT_SOURCE_DIR}/.venv/bin/python
           ${PROJECT_SOURCE_DIR}/tests/e2e/serve_uploads_test.py $<TARGET_FILE:ddpm_app>)
  set_tests_properties(serve_uploads_test PROPERTIES LABELS slow)
  if(DDPM_SITE_DIST)
    add_test(NAME serve_page_test COMMAND ${PROJECT_SOURCE_DIR}/.venv/bin/python
             ${PROJECT_SOURCE_DIR}/tests/e2e/serve_page_test.py $<TARGET_FILE:ddpm_app> ${DDPM_NPM})
    set_tests_properties(serve_page_test PROPERTIES LABELS slow SKIP_RETURN_CODE 77)
  endif()
endif()
