# ccache when it is present. Precompiled headers need the sloppiness; the base folder lets a second
# checkout share the cache.
find_program(DDPM_CCACHE ccache)
if(DDPM_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${DDPM_CCACHE})
endif()
