#include "core/weights/sorted_json.h"

#include "core/base/json.h"

namespace vernier {

SortedJson parse_sorted_json(std::string_view text, std::string_view where) {
  check_json(text, where);
  return SortedJson::parse(text);
}

}  // namespace vernier
