# Finds Arrow with Parquet and makes one target of it, vernier_arrow; none where it is not there.
#
# Any Arrow >= 26 through Arrow_ROOT, else the one inside pyarrow, which tools/setup parquet puts into
# build/deps, else by CMAKE_PREFIX_PATH. That of pyarrow has its libraries under their full names
# alone, and no CMake package.
find_path(ARROW_INCLUDE parquet/arrow/reader.h PATH_SUFFIXES include pyarrow/include NO_DEFAULT_PATH
          PATHS ${Arrow_ROOT} $ENV{Arrow_ROOT} ${VERNIER_DEPS})
find_path(ARROW_INCLUDE parquet/arrow/reader.h PATH_SUFFIXES include pyarrow/include)
if(NOT ARROW_INCLUDE)
  message(STATUS "Arrow: not found; this build does not read Parquet (tools/setup parquet)")
  return()
endif()
file(STRINGS ${ARROW_INCLUDE}/arrow/util/config.h ARROW_CONFIG REGEX "define ARROW_(VERSION_STRING|SO_VERSION) ")
string(REGEX REPLACE ".*ARROW_VERSION_STRING \"([^\"]*)\".*" "\\1" ARROW_VERSION "${ARROW_CONFIG}")
string(REGEX REPLACE ".*ARROW_SO_VERSION \"([^\"]*)\".*" "\\1" ARROW_SO "${ARROW_CONFIG}")
if(ARROW_VERSION VERSION_LESS 26)
  message(STATUS "Arrow: ${ARROW_VERSION} at ${ARROW_INCLUDE} is older than 26; this build does not read Parquet")
  return()
endif()
get_filename_component(ARROW_FOLDER ${ARROW_INCLUDE} DIRECTORY)
foreach(NAME arrow parquet)
  find_library(${NAME}_FOR_VERNIER NAMES lib${NAME}.so.${ARROW_SO} ${NAME} REQUIRED NO_DEFAULT_PATH
               PATHS ${ARROW_FOLDER} PATH_SUFFIXES lib lib64 lib/x86_64-linux-gnu)
endforeach()
get_filename_component(ARROW_LIB_DIR ${parquet_FOR_VERNIER} DIRECTORY)

add_library(vernier_arrow INTERFACE)
target_include_directories(vernier_arrow SYSTEM INTERFACE ${ARROW_INCLUDE})
target_link_libraries(vernier_arrow INTERFACE ${parquet_FOR_VERNIER} ${arrow_FOR_VERNIER})
target_link_options(vernier_arrow INTERFACE -Wl,-rpath,${ARROW_LIB_DIR})
# pyarrow's libparquet shows an OpenSSL of its own to everybody. Before it, and whether or not something
# names it, comes the one that rewards over TLS were compiled for: names are looked up in this order.
if(OPENSSL_FOUND)
  target_link_options(vernier_arrow INTERFACE -Wl,--push-state,--no-as-needed ${OPENSSL_SSL_LIBRARY}
                      ${OPENSSL_CRYPTO_LIBRARY} -Wl,--pop-state)
endif()
message(STATUS "Arrow ${ARROW_VERSION}: ${ARROW_FOLDER}")
