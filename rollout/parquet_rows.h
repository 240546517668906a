// Rows of Parquet files.
#pragma once

#include <string>

#include "rollout/row_file.h"

namespace vernier {

/// Whether this build reads Parquet: tools/setup parquet fetches what it needs for that.
bool reads_parquet();

/// Hands over every row of a Parquet file as the object that JSON Lines have of it, a batch of rows
/// at a time:
///
///   struct, map with keys of text               object
///   list                                        array
///   integer, boolean, text, dictionary of these as they stand
///   half, single, double                        number; NaN, which pandas writes where a value is
///                                               missing, is null
///   decimal                                     number, where a double has all its digits; else
///   text timestamp, date, time                       text by ISO 8601, in UTC where it has a zone
///   binary                                      text, if it is UTF-8
///   null                                        null
///
/// Throws UsageError with file, column and type where a column has another type, and where the file
/// is damaged; an infinity, or bytes that are not UTF-8, make a row bad. Where reads_parquet() is
/// false the error says what to do about it.
void parquet_rows(const std::string& path, const RowSink& sink);

}  // namespace vernier
