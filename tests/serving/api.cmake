# Tests of src/ddpm/serving/api.
ddpm_add_test(api LABELS fast
  SOURCES generation_fuzz_test.cpp generation_options_test.cpp image_encoding_test.cpp served_models_test.cpp)
ddpm_add_test(api NAME native_api_test LABELS fast tsan
  SOURCES native_api_test.cpp native_events_test.cpp native_refusals_test.cpp openapi_test.cpp openai_api_test.cpp
          gradio_calls_test.cpp gradio_protocol_test.cpp gradio_sessions_test.cpp)
