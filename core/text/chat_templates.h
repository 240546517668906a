// The chat templates that are known by their text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vernier {

/// XXH3-128 of a template's text, less one newline at its end, which Jinja drops as well.
std::string chat_template_hash(std::string_view chat_template);

/// The format that writes what the template of this hash writes.
std::optional<std::string> chat_format_of_hash(std::string_view hash);

}  // namespace vernier
