# vernier_target(): one place for the flags of our own files. Every torch target must have the same,
# or it cannot reuse the precompiled header.
set(VERNIER_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion
    -Wnon-virtual-dtor -Woverloaded-virtual -Werror)

function(vernier_target NAME)
  target_include_directories(${NAME} PRIVATE ${CMAKE_SOURCE_DIR})
  # -fPIC for programs too: the precompiled header serves only files of the same setting.
  target_compile_options(${NAME} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${VERNIER_WARNINGS} -fPIC>)
  # Of -Wconversion g++ leaves out signs in C++; clang, of the fuzz preset, is not to ask for more.
  target_compile_options(${NAME} PRIVATE
                         $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-sign-conversion>)
endfunction()

# For targets that see torch: the precompiled header, made once by vernier_pch.
function(vernier_torch_target NAME)
  vernier_target(${NAME})
  target_link_libraries(${NAME} PRIVATE vernier::torch)
  if(VERNIER_PCH)
    target_precompile_headers(${NAME} REUSE_FROM vernier_pch)
    target_compile_options(${NAME} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  endif()
endfunction()
