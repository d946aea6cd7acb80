add_library(ddpm_options INTERFACE)
target_compile_features(ddpm_options INTERFACE cxx_std_20)
if(DDPM_SANITIZE)
  target_compile_options(ddpm_options INTERFACE -fsanitize=${DDPM_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(ddpm_options INTERFACE -fsanitize=${DDPM_SANITIZE})
endif()
# at::parallel_for spreads a loop over LibTorch's threads where OpenMP is on, and runs it serially
# elsewhere. LibTorch brings GCC's runtime, which ThreadSanitizer does not understand.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT DDPM_SANITIZE MATCHES "thread")
  target_compile_options(ddpm_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
  target_link_options(ddpm_options INTERFACE -fopenmp)
endif()
if(DDPM_CCACHE AND DDPM_PCH AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(ddpm_options INTERFACE $<BUILD_INTERFACE:-fpch-preprocess>)
endif()

# LibTorch's CUDA wheels export an old std::filesystem of their own, which crashes: programs have to
# name the system's libstdc++ before LibTorch. By its file name, because -lstdc++ may find an archive.
include(CheckCXXCompilerFlag)
include(CheckLinkerFlag)
check_linker_flag(CXX "-l:libstdc++.so.6" DDPM_SHARED_LIBSTDCXX)
if(DDPM_SHARED_LIBSTDCXX)
  target_link_options(ddpm_options INTERFACE
    "SHELL:-Wl,--push-state,--no-as-needed -l:libstdc++.so.6 -Wl,--pop-state")
endif()

add_library(ddpm_warnings INTERFACE)
target_compile_options(ddpm_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wdouble-promotion -Wold-style-cast
  -Wnon-virtual-dtor -Woverloaded-virtual $<$<BOOL:${DDPM_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Guesses of GCC's flow analysis, which differ between versions and are wrong about std::string.
  target_compile_options(ddpm_warnings INTERFACE
    -Wno-error=array-bounds -Wno-error=stringop-overflow -Wno-error=restrict)
  if(DDPM_SANITIZE MATCHES "thread")  # fences in LibTorch's headers, and a wrong guess at its Scalar
    target_compile_options(ddpm_warnings INTERFACE -Wno-tsan -Wno-error=maybe-uninitialized)
  endif()
endif()

# -fPIC everywhere, programs too, so that one precompiled header fits all.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fPIC>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC's garbage collection walks the precompiled header, too, 1 to 2 s a file, and frees little: none
  # below a heap of 1 GB, which few files reach.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:--param=ggc-min-heapsize=1000000>)
endif()
find_program(DDPM_MOLD mold)
if(DDPM_MOLD)
  # Segments on pages of their own: else mold 1.10 may let the part that becomes read-only begin with
  # thread_local variables on a page before it, which is not there, and the program does not start.
  add_link_options(-fuse-ld=mold -Wl,-z,separate-loadable-segments)
endif()

# One precompiled header for everything that sees LibTorch: ATen/ATen.h costs 5 to 10 s a file without
# it, and JSON 1 s. torch/nn.h is left out: loading it would cost every file more than it saves the few
# that use it.
if(DDPM_PCH)
  file(WRITE ${PROJECT_BINARY_DIR}/ddpm_pch.cpp.in "// Carries the precompiled header.\n")
  configure_file(${PROJECT_BINARY_DIR}/ddpm_pch.cpp.in ${PROJECT_BINARY_DIR}/ddpm_pch.cpp COPYONLY)
  add_library(ddpm_pch OBJECT ${PROJECT_BINARY_DIR}/ddpm_pch.cpp)
  target_link_libraries(ddpm_pch PRIVATE
    ddpm_options ddpm_warnings torch nlohmann_json::nlohmann_json)
  target_precompile_headers(ddpm_pch PRIVATE
    <ATen/ATen.h> <nlohmann/json.hpp> <algorithm> <functional> <map> <memory> <string> <vector>)
endif()

# Most code here waits for LibTorch, files or sockets, so it is compiled with -O1; HOT code, which loops
# over pixels and numbers itself, with -O3. GCC 13 takes the header of -O3 for -O1 only if options of
# -O3 that it compares are given, too.
set(DDPM_FAST_COMPILE -O1)
check_cxx_compiler_flag(-munroll-only-small-loops DDPM_HAS_UNROLL_ONLY_SMALL_LOOPS)
if(DDPM_HAS_UNROLL_ONLY_SMALL_LOOPS)
  list(APPEND DDPM_FAST_COMPILE -munroll-only-small-loops -mvzeroupper)
endif()

# What keeps a cold build short: -O1, the precompiled header, and DDPM_UNITY files of a target compiled
# as one, because loading that header and instantiating the same templates is most of a file's time.
function(ddpm_share_compile_work target)
  if(NOT "HOT" IN_LIST ARGN)
    target_compile_options(${target} PRIVATE "$<$<CONFIG:Release>:${DDPM_FAST_COMPILE}>")
  endif()
  if(DDPM_PCH)
    target_precompile_headers(${target} REUSE_FROM ddpm_pch)
  endif()
  if(DDPM_UNITY GREATER 1)
    set_target_properties(${target} PROPERTIES
      UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${DDPM_UNITY})
  endif()
endfunction()
