#include "ddpm/checkpoint/safetensors_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "checkpoint/safetensors_bytes.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::message_of;
using testing::safetensors_bytes;

std::string header_refusal(const std::vector<std::uint8_t>& bytes) {
  return message_of<std::runtime_error>([&] { parse_safetensors_header(bytes, "x.safetensors"); });
}

/// JSON of one F32 tensor "a".
std::string entry(const std::string& shape, const std::string& offsets) {
  return R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

struct BadHeader {
  const char* name;
  std::vector<std::uint8_t> bytes;
  const char* says;
};

class SafetensorsHeaderRefusal : public ::testing::TestWithParam<BadHeader> {};

TEST_P(SafetensorsHeaderRefusal, NamesTheFileAndTheRule) {
  const std::string message = header_refusal(GetParam().bytes);
  EXPECT_THAT(message, HasSubstr("x.safetensors"));
  EXPECT_THAT(message, HasSubstr(GetParam().says));
  EXPECT_THAT(message, HasSubstr("expected"));
  EXPECT_THAT(message, HasSubstr("got"));
}

std::string name_of(const ::testing::TestParamInfo<BadHeader>& bad) { return bad.param.name; }

std::vector<std::uint8_t> with_length(std::uint64_t length) {
  auto bytes = safetensors_bytes("{}");
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes;
}

INSTANTIATE_TEST_SUITE_P(
    Lengths, SafetensorsHeaderRefusal,
    ::testing::Values(BadHeader{"Empty", {}, "at least 8 bytes, got 0"},
                      BadHeader{"SevenBytes", std::vector<std::uint8_t>(7), "got 7"},
                      BadHeader{"NoHeader", std::vector<std::uint8_t>(8), "begin with '{'"},
                      BadHeader{"OverTheCap", with_length(100'000'001), "at most 100000000"},
                      BadHeader{"LongerThanTheFile", with_length(3), "got a file of 10"},
                      BadHeader{"Negative", with_length(~std::uint64_t{0}), "at most 100000000"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Json, SafetensorsHeaderRefusal,
    ::testing::Values(
        BadHeader{"Array", safetensors_bytes("[]"), "begin with '{', got byte 91"},
        BadHeader{"LeadingSpace", safetensors_bytes(" {}"), "begin with '{'"},
        BadHeader{"ByteOrderMark", safetensors_bytes("\xef\xbb\xbf{}"), "begin with '{'"},
        BadHeader{"Unfinished", safetensors_bytes("{"), "syntax error"},
        BadHeader{"TwoObjects", safetensors_bytes("{}{}"), "syntax error"},
        BadHeader{"ZeroByte", safetensors_bytes(std::string("{}\0{", 4)), "zero byte"},
        BadHeader{"NotUtf8", safetensors_bytes("{\"\xff\":1}"), "UTF-8"},
        BadHeader{"OverlongUtf8", safetensors_bytes("{\"\xc0\xaf\":1}"), "UTF-8"},
        BadHeader{"Comment", safetensors_bytes("{/**/}"), "syntax error"},
        BadHeader{"Number", safetensors_bytes(R"({"a":1})"), "'a'"},
        BadHeader{"Null", safetensors_bytes(R"({"a":null})"), "an object, got null"},
        BadHeader{"Deep", safetensors_bytes(R"({"a":{"shape":[[0]]}})"), "got a list"},
        BadHeader{"MetadataNumber", safetensors_bytes(R"({"__metadata__":{"k":1}})"),
                  "__metadata__ 'k'"},
        BadHeader{"MetadataObject", safetensors_bytes(R"({"__metadata__":{"k":{}}})"),
                  "a string, got an object"},
        BadHeader{"MetadataList", safetensors_bytes(R"({"__metadata__":[]})"), "got a list"},
        BadHeader{
            "TensorTwice",
            safetensors_bytes(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}})"),
            "'a' twice"},
        BadHeader{"MetadataTwice", safetensors_bytes(R"({"__metadata__":{"k":"","k":""}})"),
                  "'k' twice"},
        BadHeader{"KeyTwice", safetensors_bytes(R"({"a":{"shape":[],"shape":[]}})"),
                  "'shape' twice in tensor 'a'"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Tensors, SafetensorsHeaderRefusal,
    ::testing::Values(
        BadHeader{"NoType", safetensors_bytes(R"({"a":{"shape":[],"data_offsets":[0,4]}})", 4),
                  "got no dtype"},
        BadHeader{"NoShape", safetensors_bytes(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4),
                  "got no shape"},
        BadHeader{"NoOffsets", safetensors_bytes(R"({"a":{"dtype":"F32","shape":[]}})"),
                  "got no data_offsets"},
        BadHeader{"OtherKey", safetensors_bytes(R"({"a":{"stride":[1]}})"), "the key 'stride'"},
        BadHeader{"UnknownType", safetensors_bytes(R"({"a":{"dtype":"F8_E4M3"}})"),
                  "tensor 'a' dtype in 'x.safetensors': expected one of F64"},
        BadHeader{"TypeIsNumber", safetensors_bytes(R"({"a":{"dtype":1}})"), "a string, got 1"},
        BadHeader{"ShapeIsText", safetensors_bytes(R"({"a":{"shape":"1"}})"), "tensor 'a' shape"},
        BadHeader{"NegativeSize", safetensors_bytes(entry("[-1]", "[0,0]")), "got -1"},
        BadHeader{"FractionalSize", safetensors_bytes(entry("[1.0]", "[0,4]"), 4), "got 1.0"},
        BadHeader{"ExponentSize", safetensors_bytes(entry("[1e0]", "[0,4]"), 4), "got 1e0"},
        BadHeader{"SizeOver63Bits", safetensors_bytes(entry("[9223372036854775808]", "[0,4]"), 4),
                  "2^63 - 1"},
        BadHeader{"OneOffset", safetensors_bytes(entry("[]", "[0]")), "2 numbers, got 1"},
        BadHeader{"ThreeOffsets", safetensors_bytes(entry("[1]", "[0,4,4]"), 4), "got 3"},
        BadHeader{"ProductOverflows", safetensors_bytes(entry("[4294967296,4294967296]", "[0,0]")),
                  "under 2^63"},
        BadHeader{"ProductOverflowsBesideZero",
                  safetensors_bytes(entry("[0,4294967296,4294967296]", "[0,0]")), "under 2^63"},
        BadHeader{"ByteSizeOverflows", safetensors_bytes(entry("[4611686018427387904]", "[0,0]")),
                  "under 2^63"},
        BadHeader{"OffsetsBackwards", safetensors_bytes(entry("[1]", "[4,0]"), 4), "got [4, 0]"},
        BadHeader{"BeyondTheBuffer", safetensors_bytes(entry("[2]", "[0,8]"), 4), "at most 4"},
        BadHeader{"TooFewBytes", safetensors_bytes(entry("[2]", "[0,4]"), 4),
                  "8 bytes for Float [2], got 4"},
        BadHeader{"TooManyBytes", safetensors_bytes(entry("[1]", "[0,8]"), 8), "4 bytes"},
        BadHeader{"HoleInFront", safetensors_bytes(entry("[1]", "[4,8]"), 8), "(hole)"},
        BadHeader{"TrailingBytes", safetensors_bytes(entry("[1]", "[0,4]"), 5),
                  "4 bytes behind the header"},
        BadHeader{"BytesWithoutTensor", safetensors_bytes("{}", 1), "0 bytes behind the header"},
        BadHeader{"Overlap",
                  safetensors_bytes(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                                    R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                                    4),
                  "tensor 'b' in 'x.safetensors': expected offset 3"},
        BadHeader{"HoleBetween",
                  safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                    R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
                                    3),
                  "(hole)"}),
    name_of);

TEST(SafetensorsHeaderTest, TensorsComeInTheOrderOfTheirOffsets) {
  const auto bytes = safetensors_bytes(
      R"({"a":{"dtype":"U8","shape":[2,1],"data_offsets":[3,5]},)"
      R"("b":{"dtype":"U8","shape":[0],"data_offsets":[3,3]},)"
      R"("c":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]},"__metadata__":{"k":"v"}}   )",
      5);
  const auto header = parse_safetensors_header(bytes, "x");
  ASSERT_EQ(header.tensors.size(), 3u);
  EXPECT_EQ(header.tensors[0].name, "c");
  EXPECT_EQ(header.tensors[1].name, "b");
  EXPECT_EQ(header.tensors[2].name, "a");
  EXPECT_EQ(header.tensors[2].shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(header.metadata.at("k"), "v");
  EXPECT_EQ(header.data_start, bytes.size() - 5);
}

TEST(SafetensorsHeaderTest, MoreDimensionsThanLibTorchTakesAreRefused) {
  std::string shape = "[1";
  for (int i = 0; i < 64; ++i) shape += ",1";
  EXPECT_THAT(header_refusal(safetensors_bytes(entry(shape + "]", "[0,4]"), 4)),
              HasSubstr("got 65"));
}

TEST(SafetensorsHeaderTest, DeepNestingEndsAtTheFirstWrongBracket) {
  std::string json = R"({"a":{"shape":)";
  json.append(1'000'000, '[');
  EXPECT_THAT(header_refusal(safetensors_bytes(json)), HasSubstr("got a list"));
}

TEST(SafetensorsHeaderTest, BufferBeginsAtAMultipleOfEight) {
  for (const std::string name : {"", "a", "ab", "abcdefg"}) {
    const TensorEntry tensor{.name = name, .dtype = at::kFloat, .shape = {1}, .begin = 0, .end = 4};
    EXPECT_EQ(format_safetensors_header({tensor}, {}).size() % 8, 0u) << name;
  }
}

}  // namespace
}  // namespace ddpm
