# Builds web/ and packs it for the program: cmake -DWEB=... -DOUT=... -DNPM=... -DNODE=... -DMODE=AUTO|ON -P
# Packages are fetched where web/package-lock.json is newer than web/node_modules. Without a
# network mode AUTO leaves the page out and says so, mode ON fails.
function(run what)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY ${WEB} RESULT_VARIABLE result
                  OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "site: ${what} failed:\n${output}")
  endif()
endfunction()

set(dist ${OUT}/dist)
set(installed ${WEB}/node_modules/.package-lock.json)  # npm writes it last
file(LOCK ${WEB}/.npm_ci.lock GUARD PROCESS TIMEOUT 600)  # build folders share node_modules
if(NOT EXISTS ${installed} OR ${WEB}/package-lock.json IS_NEWER_THAN ${installed})
  execute_process(COMMAND ${NPM} ci --no-audit --no-fund --fetch-retries=1 --fetch-timeout=60000
                  WORKING_DIRECTORY ${WEB} RESULT_VARIABLE result OUTPUT_VARIABLE output
                  ERROR_VARIABLE output)
  if(NOT result EQUAL 0 AND MODE STREQUAL "AUTO" AND output MATCHES
     "ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|network")
    message("site: npm could not fetch the page's packages, so this program has no page, only the API; "
            "the next build tries again. npm said:\n${output}")
    file(WRITE ${OUT}/site_files.inc "constexpr std::array<PackedFile, 0> kPackedFiles{};\n")
    file(WRITE ${OUT}/site.pack "")
    file(WRITE ${OUT}/site.d "${OUT}/site.pack: ${installed}\n")
    return()
  endif()
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "site: npm ci failed:\n${output}")
  endif()
  file(TOUCH ${installed})
endif()
file(LOCK ${WEB}/.npm_ci.lock RELEASE)
run("vite build" ${NODE} node_modules/vite/bin/vite.js build --outDir ${dist} --emptyOutDir)
run("the check of its size" ${NODE} scripts/check_size.mjs ${dist})
run("packing" ${NODE} scripts/embed.mjs ${dist} ${OUT}
    index.html package.json package-lock.json svelte.config.js vite.config.ts scripts src public)
