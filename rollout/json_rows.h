// Rows of .json files.
#pragma once

#include <string>
#include <string_view>

#include "rollout/row_file.h"

namespace vernier {

/// Whether the file that begins with this line is JSON Lines: an object of its own, and no task.
bool is_json_line(std::string_view first_line);

/// Hands over the rows of a .json file that is a list of them, or a task of Natural Instructions,
/// and gives what stands between the file's name and the number of a row in messages. Throws
/// UsageError where the file is neither.
///
/// A task is one object, with Definition, Instances and Positive Examples. Of each instance comes a
/// row:
///
///   prompt         definition, `examples` of the positive examples (as many as there are) and
///   input,
///                  as Tk-Instruct writes them
///   input          the input alone
///   answer         the first output
///   other_answers  the other ones, which count as right as well; where there are any
///   id             of the instance; the name of the file and a number where it has none
///   data_source    the name of the file, without .json
///   Categories, Domains     of the task
///
/// Sources: arXiv:2204.07705; github.com/yizhongw/Tk-Instruct, src/ni_collator.py, with the
/// definition and without negative examples and explanations.
std::string json_rows(const std::string& path, int64_t examples, const RowSink& sink);

/// The same of the text of such a file.
std::string json_rows(const std::string& path, std::string_view text, int64_t examples,
                      const RowSink& sink);

}  // namespace vernier
