// The test program. Seeds are fixed in the tests; arguments are doctest's.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
