// Tokenizers of files against the library `tokenizers`.
#include <doctest/doctest.h>
