#include "rewards/form.h"

#include "core/base/errors.h"
#include "rewards/verify/math_format.h"

namespace vernier {

const std::vector<std::string>& forms() {
  static const std::vector<std::string> names = {"boxed", "hash", "think_tags"};
  return names;
}

void bind_format(Binder& config, std::string& field, std::string_view doc) {
  std::vector<std::string> allowed = forms();
  allowed.emplace_back("none");
  config.choice("format", field, allowed, doc);
}

bool lacks_format(const std::string& format, std::string_view text) {
  return format != "none" && !has_form(format, text);
}

bool has_form(const std::string& form, std::string_view text, bool strict_sympy_compat) {
  if (form == "hash") return text.find('#') != std::string_view::npos;
  if (form == "think_tags") return has_think_block(text);
  ensure(form == "boxed", "a known form");
  return has_math_answer(text, strict_sympy_compat);
}

}  // namespace vernier
