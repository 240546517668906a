# Finds LibTorch and makes one target of it: vernier::torch.
#
# Any LibTorch >= 2.11 through CMAKE_PREFIX_PATH, else what tools/setup put into build/deps. The
# wheel's own CMake package is not used: it asks for a CUDA toolkit even where only the CPU library is
# linked.
find_library(TORCH_CPU_LIBRARY torch_cpu PATH_SUFFIXES lib torch/lib
             HINTS ${VERNIER_DEPS}/torch/lib)
if(NOT TORCH_CPU_LIBRARY)
  message(FATAL_ERROR "LibTorch was not found: run tools/setup, or set CMAKE_PREFIX_PATH to a "
                      "LibTorch >= 2.11")
endif()
get_filename_component(TORCH_LIB_DIR ${TORCH_CPU_LIBRARY} DIRECTORY)
get_filename_component(TORCH_ROOT ${TORCH_LIB_DIR} DIRECTORY)
find_library(C10_LIBRARY c10 HINTS ${TORCH_LIB_DIR} NO_DEFAULT_PATH REQUIRED)
file(STRINGS ${TORCH_ROOT}/include/torch/headeronly/version.h TORCH_VERSION_LINES
     REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
string(REGEX REPLACE "[^0-9;]" "" TORCH_VERSION_PARTS "${TORCH_VERSION_LINES}")
string(REPLACE ";" "." TORCH_VERSION "${TORCH_VERSION_PARTS}")
if(TORCH_VERSION VERSION_LESS 2.11)
  message(FATAL_ERROR "LibTorch ${TORCH_VERSION} at ${TORCH_ROOT} is older than 2.11")
endif()

# libtorch_cpu of a CUDA wheel needs libcudart and libcupti at run time, from the toolkit or from the
# two small wheels beside torch.
set(TORCH_RUNTIME_DIRS ${TORCH_LIB_DIR})
foreach(NAME cudart cupti)
  find_library(${NAME}_FOR_TORCH NAMES lib${NAME}.so.13 lib${NAME}.so.12 ${NAME}
               HINTS ${VERNIER_DEPS}/nvidia/cu13/lib ${VERNIER_DEPS}/nvidia/cuda_runtime/lib
               PATHS /usr/local/cuda/lib64 /usr/local/cuda/extras/CUPTI/lib64)
  if(${NAME}_FOR_TORCH)
    get_filename_component(DIR ${${NAME}_FOR_TORCH} DIRECTORY)
    list(APPEND TORCH_RUNTIME_DIRS ${DIR})
  endif()
endforeach()
list(REMOVE_DUPLICATES TORCH_RUNTIME_DIRS)

add_library(vernier_torch INTERFACE)
add_library(vernier::torch ALIAS vernier_torch)
target_include_directories(vernier_torch SYSTEM INTERFACE
  ${TORCH_ROOT}/include ${TORCH_ROOT}/include/torch/csrc/api/include)
target_link_libraries(vernier_torch INTERFACE ${TORCH_CPU_LIBRARY} ${C10_LIBRARY})
# DT_RPATH, not DT_RUNPATH: only the former also serves the libraries that torch itself loads.
target_link_options(vernier_torch INTERFACE -Wl,--disable-new-dtags
                    -Wl,--allow-shlib-undefined)
foreach(DIR ${TORCH_RUNTIME_DIRS})
  target_link_options(vernier_torch INTERFACE -Wl,-rpath,${DIR})
endforeach()
message(STATUS "LibTorch ${TORCH_VERSION}: ${TORCH_ROOT}")
