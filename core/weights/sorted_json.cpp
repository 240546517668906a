#include "core/weights/sorted_json.h"

#include <set>
#include <string>
#include <vector>

#include "core/base/errors.h"

namespace vernier {
namespace {

constexpr int kMaxDepth = 64;

// Looks a text over before values are made of it.
class Checker final : public nlohmann::json_sax<SortedJson> {
 public:
  explicit Checker(std::string_view where) : where_(where) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }

  bool start_object(size_t) override {
    keys_.emplace_back();
    return enter();
  }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second)
      fail(where_, ": key '", name, "' stands twice in one object");
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    return leave();
  }
  bool start_array(size_t) override { return enter(); }
  bool end_array() override { return leave(); }

  bool parse_error(size_t, const std::string&, const SortedJson::exception& problem) override {
    std::string_view reason = problem.what();
    if (const size_t end = reason.find("] "); end != std::string_view::npos)
      reason.remove_prefix(end + 2);
    fail(where_, ": not JSON: ", to_valid_utf8(reason));
  }

 private:
  bool enter() {
    if (++depth_ > kMaxDepth) fail(where_, ": JSON nested deeper than ", kMaxDepth, " levels");
    return true;
  }
  bool leave() {
    --depth_;
    return true;
  }

  std::string_view where_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
  int depth_ = 0;
};

}  // namespace

SortedJson parse_sorted_json(std::string_view text, std::string_view where) {
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos)
    fail(where, ": not JSON: byte ", zero, " is 0");
  Checker checker(where);
  SortedJson::sax_parse(text.begin(), text.end(), &checker);
  return SortedJson::parse(text.begin(), text.end());
}

}  // namespace vernier
