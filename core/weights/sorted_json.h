// JSON with large objects: vocabularies and weight headers, which others wrote.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace vernier {

/// A JSON value that finds keys in logarithmic time. `Json` keeps their order and searches them one
/// by one: quadratic time for a vocabulary, or for a file made to be slow.
using SortedJson = nlohmann::json;

/// parse_json() for such texts: the same rules, in O(n log n). Refuses bytes of value 0 too, which
/// the library takes for the end of the text.
SortedJson parse_sorted_json(std::string_view text, std::string_view where);

}  // namespace vernier
