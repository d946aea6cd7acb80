# The tests of HTTP: a binary that sees no LibTorch, so that sanitizers can watch it.
set(http_tests
  http_access_log_test.cpp http_drain_test.cpp http_gzip_test.cpp http_json_test.cpp
  http_keys_test.cpp http_limits_test.cpp http_message_test.cpp http_multipart_test.cpp
  http_origin_test.cpp http_payload_test.cpp http_request_parser_test.cpp http_responder_test.cpp
  http_router_test.cpp http_server_test.cpp http_slow_clients_test.cpp http_static_files_test.cpp http_stream_test.cpp
  http_streaming_test.cpp http_target_test.cpp http_transport_test.cpp load_generator_test.cpp
  metrics_test.cpp)
list(TRANSFORM http_tests PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
add_executable(http_test ${http_tests})
target_include_directories(http_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/..)
target_link_libraries(http_test PRIVATE
  ddpm::http ddpm::load ddpm_warnings GTest::gtest GTest::gmock GTest::gtest_main)
target_compile_options(http_test PRIVATE $<$<CONFIG:Release>:-O1>)
if(DDPM_UNITY GREATER 1)
  set_target_properties(http_test PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 10)
endif()
add_test(NAME http_test COMMAND http_test)
set(http_test_files ${CMAKE_CURRENT_BINARY_DIR}/http_test_files)
file(MAKE_DIRECTORY ${http_test_files})
set_tests_properties(http_test PROPERTIES
  LABELS "fast;tsan" ENVIRONMENT "TEST_TMPDIR=${http_test_files}")
