# LibTorch: CMAKE_PREFIX_PATH or Torch_DIR if given, else the wheel in .venv, else the one that
# `python3 -c "import torch"` finds.
find_package(Torch QUIET NO_SYSTEM_ENVIRONMENT_PATH NO_CMAKE_SYSTEM_PATH)
if(NOT Torch_FOUND)
  foreach(python ${PROJECT_SOURCE_DIR}/.venv/bin/python python3)
    execute_process(COMMAND ${python} -c "import torch; print(torch.utils.cmake_prefix_path)"
                    OUTPUT_VARIABLE torch_prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
                    RESULT_VARIABLE torch_missing)
    if(torch_missing EQUAL 0)
      list(APPEND CMAKE_PREFIX_PATH ${torch_prefix})
      break()
    endif()
  endforeach()
  find_package(Torch REQUIRED)
endif()
find_package(nlohmann_json 3.11 REQUIRED)
find_package(spdlog REQUIRED)
find_package(hwy REQUIRED)
find_package(Boost 1.81 CONFIG REQUIRED)  # headers only
find_package(OpenSSL QUIET)               # without it there is no TLS
find_package(SQLite3 QUIET)               # without it jobs end with the process
find_package(PNG REQUIRED)
find_package(JPEG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(WebP REQUIRED)
find_package(tomlplusplus REQUIRED)
if(DDPM_BUILD_APPS)
  find_package(CLI11 REQUIRED)
endif()
if(DDPM_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
