// Parquet through Arrow, whose headers no other file includes.
#include "rollout/parquet_rows.h"

#include <arrow/array.h>
#include <arrow/extension_type.h>
#include <arrow/io/file.h>
#include <arrow/record_batch.h>
#include <arrow/util/float16.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>

#include <chrono>
#include <cmath>
#include <set>
#include <vector>

#include "core/base/errors.h"

namespace vernier {
namespace {

using arrow::Array;
using arrow::DataType;
using arrow::Type;

bool is_text(const DataType& type) {
  return type.id() == Type::STRING || type.id() == Type::LARGE_STRING ||
         type.id() == Type::STRING_VIEW;
}

void check_fields(const arrow::FieldVector& fields);

// Throws UsageError where a type has no JSON.
void check_type(const DataType& type) {
  switch (type.id()) {
    case Type::LIST:
    case Type::LARGE_LIST:
    case Type::FIXED_SIZE_LIST:
    case Type::LIST_VIEW:
    case Type::LARGE_LIST_VIEW:
      return check_type(*type.field(0)->type());
    case Type::STRUCT:
      return check_fields(type.fields());
    case Type::MAP:
      if (is_text(*static_cast<const arrow::MapType&>(type).key_type()))
        return check_type(*static_cast<const arrow::MapType&>(type).item_type());
      break;
    case Type::DICTIONARY:
      return check_type(*static_cast<const arrow::DictionaryType&>(type).value_type());
    case Type::EXTENSION:
      return check_type(*static_cast<const arrow::ExtensionType&>(type).storage_type());
    case Type::SPARSE_UNION:
    case Type::DENSE_UNION:
    case Type::RUN_END_ENCODED:
    case Type::DURATION:
    case Type::INTERVAL_MONTHS:
    case Type::INTERVAL_DAY_TIME:
    case Type::INTERVAL_MONTH_DAY_NANO:
      break;
    default:
      return;
  }
  fail("the type ", type.ToString(), " has no JSON; leave the column out, or write it as text");
}

void check_fields(const arrow::FieldVector& fields) {
  std::set<std::string> names;
  for (const auto& field : fields) {
    if (!names.insert(field->name()).second) fail(field->name(), ": two columns have this name");
    placed(field->name(), [&] { check_type(*field->type()); });
  }
}

Json text_json(std::string_view text) {
  if (!is_utf8(text)) fail("bytes that are not UTF-8");
  return std::string(text);
}

Json number_json(double value) {
  if (std::isnan(value)) return nullptr;
  if (std::isinf(value)) fail(value > 0 ? "an infinity" : "a negative infinity", " has no JSON");
  return value;
}

// Doubles that are read from 15 digits are written with the same.
template <class Decimals>
Json decimal_json(const Array& array, int64_t i) {
  const auto& type = static_cast<const arrow::DecimalType&>(*array.type());
  const std::string digits = static_cast<const Decimals&>(array).FormatValue(i);
  const bool exact = type.precision() <= (type.scale() == 0 ? 18 : 15);
  return exact ? parse_json(digits, "a decimal") : Json(digits);
}

std::string padded(int64_t number, size_t digits) {
  const std::string text = cat(number);
  return text.size() < digits ? std::string(digits - text.size(), '0') + text : text;
}

struct Unit {
  int64_t per_second;
  size_t digits;
};

Unit unit_of(arrow::TimeUnit::type unit) {
  switch (unit) {
    case arrow::TimeUnit::SECOND:
      return {1, 0};
    case arrow::TimeUnit::MILLI:
      return {1'000, 3};
    case arrow::TimeUnit::MICRO:
      return {1'000'000, 6};
    default:
      return {1'000'000'000, 9};
  }
}

constexpr int64_t kDay = 86400;  // seconds

std::string date_text(int64_t days) {
  using namespace std::chrono;
  constexpr int64_t kFirst = -719162, kLast = 2932896;  // of the years 1 to 9999
  if (days < kFirst || days > kLast) fail("a date outside the years 1 to 9999");
  const year_month_day date{sys_days{std::chrono::days{static_cast<int>(days)}}};
  return cat(padded(static_cast<int>(date.year()), 4), '-',
             padded(static_cast<unsigned>(date.month()), 2), '-',
             padded(static_cast<unsigned>(date.day()), 2));
}

// The fraction of a second where it is not 0.
std::string time_text(int64_t value, const Unit& unit) {
  const int64_t seconds = value / unit.per_second, fraction = value % unit.per_second;
  if (value < 0 || seconds >= kDay) fail("a time that is not of one day");
  return cat(padded(seconds / 3600, 2), ':', padded(seconds / 60 % 60, 2), ':',
             padded(seconds % 60, 2), fraction == 0 ? "" : "." + padded(fraction, unit.digits));
}

std::string timestamp_text(int64_t value, const arrow::TimestampType& type) {
  const Unit unit = unit_of(type.unit());
  const int64_t day = kDay * unit.per_second, rest = value % day;
  const int64_t days = value / day - (rest < 0 ? 1 : 0);
  return cat(date_text(days), 'T', time_text(rest < 0 ? rest + day : rest, unit),
             type.timezone().empty() ? "" : "Z");
}

Json value_of(const Array& array, int64_t i);

template <class Lists>
Json list_json(const Array& array, int64_t i) {
  const auto& lists = static_cast<const Lists&>(array);
  Json out = Json::array();
  const int64_t begin = lists.value_offset(i), end = begin + lists.value_length(i);
  for (int64_t k = begin; k < end; ++k) out.push_back(value_of(*lists.values(), k));
  return out;
}

Json struct_json(const Array& array, int64_t i) {
  const auto& structs = static_cast<const arrow::StructArray&>(array);
  Json out = Json::object();
  for (int k = 0; k < structs.num_fields(); ++k) {
    const std::string& name = structs.type()->field(k)->name();
    out[name] = placed(name, [&] { return value_of(*structs.field(k), i); });
  }
  return out;
}

Json map_json(const Array& array, int64_t i) {
  const auto& maps = static_cast<const arrow::MapArray&>(array);
  Json out = Json::object();
  const int64_t begin = maps.value_offset(i), end = begin + maps.value_length(i);
  for (int64_t k = begin; k < end; ++k) {
    const auto key = value_of(*maps.keys(), k).get<std::string>();
    if (out.contains(key)) fail("key '", key, "' stands twice in one map");
    out[key] = placed(key, [&] { return value_of(*maps.items(), k); });
  }
  return out;
}

template <class Values>
auto value_at(const Array& array, int64_t i) {
  return static_cast<const Values&>(array).Value(i);
}

template <class Values>
Json text_at(const Array& array, int64_t i) {
  return text_json(static_cast<const Values&>(array).GetView(i));
}

Json nested_value(const Array& array, int64_t i) {
  switch (array.type_id()) {
    case Type::LIST:
      return list_json<arrow::ListArray>(array, i);
    case Type::LARGE_LIST:
      return list_json<arrow::LargeListArray>(array, i);
    case Type::FIXED_SIZE_LIST:
      return list_json<arrow::FixedSizeListArray>(array, i);
    case Type::LIST_VIEW:
      return list_json<arrow::ListViewArray>(array, i);
    case Type::LARGE_LIST_VIEW:
      return list_json<arrow::LargeListViewArray>(array, i);
    case Type::STRUCT:
      return struct_json(array, i);
    case Type::MAP:
      return map_json(array, i);
    case Type::DICTIONARY: {
      const auto& coded = static_cast<const arrow::DictionaryArray&>(array);
      return value_of(*coded.dictionary(), coded.GetValueIndex(i));
    }
    case Type::EXTENSION:
      return value_of(*static_cast<const arrow::ExtensionArray&>(array).storage(), i);
    default:
      fail("the type ", array.type()->ToString(), " has no JSON");
  }
}

// Dates, times, decimals.
Json written_value(const Array& array, int64_t i) {
  const DataType& type = *array.type();
  switch (type.id()) {
    case Type::DATE32:
      return date_text(value_at<arrow::Date32Array>(array, i));
    case Type::DATE64: {
      constexpr int64_t kMilliseconds = 1000 * kDay;
      const int64_t value = value_at<arrow::Date64Array>(array, i);
      return date_text(value / kMilliseconds - (value % kMilliseconds < 0 ? 1 : 0));
    }
    case Type::TIME32:
      return time_text(value_at<arrow::Time32Array>(array, i),
                       unit_of(static_cast<const arrow::TimeType&>(type).unit()));
    case Type::TIME64:
      return time_text(value_at<arrow::Time64Array>(array, i),
                       unit_of(static_cast<const arrow::TimeType&>(type).unit()));
    case Type::TIMESTAMP:
      return timestamp_text(value_at<arrow::TimestampArray>(array, i),
                            static_cast<const arrow::TimestampType&>(type));
    case Type::DECIMAL32:
      return decimal_json<arrow::Decimal32Array>(array, i);
    case Type::DECIMAL64:
      return decimal_json<arrow::Decimal64Array>(array, i);
    case Type::DECIMAL128:
      return decimal_json<arrow::Decimal128Array>(array, i);
    case Type::DECIMAL256:
      return decimal_json<arrow::Decimal256Array>(array, i);
    default:
      return nested_value(array, i);
  }
}

// Errors do not name the column: those who call do.
Json value_of(const Array& array, int64_t i) {
  if (array.IsNull(i)) return nullptr;
  switch (array.type_id()) {
    case Type::BOOL:
      return value_at<arrow::BooleanArray>(array, i);
    case Type::INT8:
      return value_at<arrow::Int8Array>(array, i);
    case Type::INT16:
      return value_at<arrow::Int16Array>(array, i);
    case Type::INT32:
      return value_at<arrow::Int32Array>(array, i);
    case Type::INT64:
      return value_at<arrow::Int64Array>(array, i);
    case Type::UINT8:
      return value_at<arrow::UInt8Array>(array, i);
    case Type::UINT16:
      return value_at<arrow::UInt16Array>(array, i);
    case Type::UINT32:
      return value_at<arrow::UInt32Array>(array, i);
    case Type::UINT64:
      return value_at<arrow::UInt64Array>(array, i);
    case Type::HALF_FLOAT:
      return number_json(
          arrow::util::Float16::FromBits(value_at<arrow::HalfFloatArray>(array, i)).ToDouble());
    case Type::FLOAT:
      return number_json(value_at<arrow::FloatArray>(array, i));
    case Type::DOUBLE:
      return number_json(value_at<arrow::DoubleArray>(array, i));
    case Type::STRING:
    case Type::BINARY:
      return text_at<arrow::BinaryArray>(array, i);
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY:
      return text_at<arrow::LargeBinaryArray>(array, i);
    case Type::STRING_VIEW:
    case Type::BINARY_VIEW:
      return text_at<arrow::BinaryViewArray>(array, i);
    case Type::FIXED_SIZE_BINARY:
      return text_at<arrow::FixedSizeBinaryArray>(array, i);
    default:
      return written_value(array, i);
  }
}

Json row_of(const arrow::RecordBatch& batch, int64_t i) {
  Json out = Json::object();
  for (int k = 0; k < batch.num_columns(); ++k) {
    const std::string& name = batch.schema()->field(k)->name();
    out[name] = placed(name, [&] { return value_of(*batch.column(k), i); });
  }
  return out;
}

void check(const arrow::Status& status, const std::string& path) {
  if (!status.ok()) fail(path, ": ", to_valid_utf8(status.message()));
}

template <class T>
T checked(arrow::Result<T> result, const std::string& path) {
  check(result.status(), path);
  return std::move(result).ValueUnsafe();
}

// Reads pages as they are needed, on this thread, a few rows at a time: prompts are long, and a row
// group may hold a million of them.
std::unique_ptr<parquet::arrow::FileReader> open_reader(const std::string& path) {
  constexpr int64_t kRows = 256;
  parquet::ReaderProperties pages;
  pages.enable_buffered_stream();
  pages.set_page_checksum_verification(true);
  parquet::ArrowReaderProperties rows(false);
  rows.set_pre_buffer(false);
  rows.set_batch_size(kRows);
  parquet::arrow::FileReaderBuilder builder;
  check(builder.Open(checked(arrow::io::ReadableFile::Open(path), path), pages), path);
  builder.properties(rows);
  return checked(builder.Build(), path);
}

void read_rows(const std::string& path, const RowSink& sink) {
  const auto reader = open_reader(path);
  std::shared_ptr<arrow::Schema> schema;
  check(reader->GetSchema(&schema), path);
  placed(path, [&] { check_fields(schema->fields()); });
  const auto batches = checked(reader->GetRecordBatchReader(), path);
  int64_t left = reader->parquet_reader()->metadata()->num_rows();
  for (std::shared_ptr<arrow::RecordBatch> batch;;) {
    check(batches->ReadNext(&batch), path);
    if (batch == nullptr) break;
    for (int64_t i = 0; i < batch->num_rows(); ++i) sink([&] { return row_of(*batch, i); });
    left -= batch->num_rows();
  }
  if (left != 0) fail(path, ": is damaged: ", left, " rows of those that it names are not there");
}

}  // namespace

bool reads_parquet() { return true; }

void parquet_rows(const std::string& path, const RowSink& sink) {
  try {
    read_rows(path, sink);
  } catch (const parquet::ParquetException& problem) {
    fail(path, ": ", to_valid_utf8(problem.what()));
  }
}

}  // namespace vernier
