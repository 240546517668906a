// Sizes and tokenizer of a model as files in memory, for a process that gets its weights otherwise.
#pragma once

#include <map>
#include <string>

#include "core/model/model.h"

namespace vernier {

/// Files of a model's folder by name, without those of weights.
using HeadFiles = std::map<std::string, std::string>;

HeadFiles head_files(const ModelSpec& spec, const Tokenizer& tokenizer);

/// UsageError that names what is wrong with them. `max_length`: of a sequence; 0: what the model
/// was made for.
ModelHead head_from_files(const HeadFiles& files, int64_t max_length);

/// The same of a folder, whose weights may still be missing: nothing of them is looked at.
ModelHead head_from_folder(const fs::path& folder, int64_t max_length);

/// Whether that is all there is of a model: a folder without weights.
bool lacks_weights(const fs::path& model);

}  // namespace vernier
