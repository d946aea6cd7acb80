# HTTP without LibTorch, so that it is built and run under sanitizers in a minute.
# ddpm::http_parsing: what clients send, in memory only; ddpm::http: sockets.
function(ddpm_add_http_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PUBLIC;PRIVATE")
  list(TRANSFORM arg_SOURCES PREPEND ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/)
  add_library(ddpm_${name} STATIC ${arg_SOURCES})
  target_link_libraries(ddpm_${name} PUBLIC ddpm_options ${arg_PUBLIC}
    PRIVATE $<BUILD_INTERFACE:ddpm_warnings> $<BUILD_INTERFACE:Boost::headers> ${arg_PRIVATE})
  target_include_directories(ddpm_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  if(DDPM_UNITY GREATER 1)  # Boost's headers take longer than all code behind them
    set_target_properties(ddpm_${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 20)
  endif()
  set_target_properties(ddpm_${name} PROPERTIES EXPORT_NAME ${name})
  add_library(ddpm::${name} ALIAS ddpm_${name})
  set_property(GLOBAL APPEND PROPERTY DDPM_LAYERS ddpm_${name})
endfunction()

ddpm_add_http_library(http_parsing
  SOURCES
    http_access_log.cpp http_gzip.cpp http_json.cpp http_keys.cpp http_media_type.cpp
    http_message.cpp http_multipart.cpp http_origin.cpp http_payload.cpp http_request_parser.cpp
    http_response_head.cpp http_target.cpp metrics.cpp
  PUBLIC nlohmann_json::nlohmann_json
  PRIVATE ZLIB::ZLIB)
set_source_files_properties(
  ${CMAKE_CURRENT_LIST_DIR}/http_json.cpp ${CMAKE_CURRENT_LIST_DIR}/http_request_parser.cpp
  PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)

ddpm_add_http_library(http
  SOURCES
    http_admission.cpp http_connection.cpp http_connection_read.cpp http_connection_write.cpp
    http_input.cpp http_listener.cpp http_loop.cpp http_responder.cpp http_router.cpp
    http_server.cpp http_service_state.cpp http_static_files.cpp http_stream.cpp http_tls.cpp
    http_transport.cpp http_workers.cpp
  PUBLIC ddpm::http_parsing ddpm::log)
if(OPENSSL_FOUND)
  target_link_libraries(ddpm_http PRIVATE OpenSSL::SSL)
  target_compile_definitions(ddpm_http PRIVATE DDPM_TLS)
endif()
if(DDPM_SANITIZE MATCHES "thread")  # which doesn't know fences; Asio's queues have locks besides
  target_compile_definitions(ddpm_http PRIVATE BOOST_ASIO_DISABLE_FENCED_BLOCK)
endif()
