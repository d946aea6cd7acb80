# Routes beside the native ones: health and metrics, the forward process and edits of what clients send.
ddpm_add_test(api NAME uploads_test LABELS fast
  SOURCES edits_test.cpp forward_test.cpp ops_test.cpp)
