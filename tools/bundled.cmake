# What Vernier uses beside torch, from the third_party folder of an archive of tools/bundle: the same
# targets that Debian's packages give.
set(BUNDLED ${CMAKE_SOURCE_DIR}/third_party)

# Behind all others, as /usr/include is: torch has headers of some of the same names.
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${BUNDLED}/include>")

# bundled(TARGET libraries...)
function(bundled NAME)
  add_library(${NAME} INTERFACE IMPORTED)
  foreach(LIBRARY ${ARGN})
    if(NOT EXISTS ${BUNDLED}/lib/lib${LIBRARY}.a)
      message(FATAL_ERROR "${BUNDLED}/lib/lib${LIBRARY}.a is not in this bundle")
    endif()
    target_link_libraries(${NAME} INTERFACE ${BUNDLED}/lib/lib${LIBRARY}.a)
  endforeach()
endfunction()

bundled(PkgConfig::TEXT_LIBRARIES pcre2-8 utf8proc xxhash zstd)
target_compile_definitions(PkgConfig::TEXT_LIBRARIES INTERFACE UTF8PROC_STATIC)
bundled(PkgConfig::YAML yaml-cpp)
bundled(nlohmann_json::nlohmann_json)
bundled(doctest::doctest)
bundled(Boost::headers)
bundled(OpenSSL::Crypto crypto)
bundled(OpenSSL::SSL ssl)
target_link_libraries(OpenSSL::SSL INTERFACE OpenSSL::Crypto ${CMAKE_DL_LIBS} Threads::Threads)
target_link_libraries(OpenSSL::Crypto INTERFACE ${CMAKE_DL_LIBS} Threads::Threads)
# Debian has no static library of it; one file of ours includes it.
bundled(spdlog::spdlog)
target_compile_definitions(spdlog::spdlog INTERFACE SPDLOG_FMT_EXTERNAL FMT_HEADER_ONLY)
set(PLOTLY_JS ${BUNDLED}/plotly.min.js)
