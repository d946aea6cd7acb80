#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/safetensors_bytes.h"
#include "checkpoint/torch_file_bytes.h"
#include "ddpm/checkpoint/torch_file.h"

namespace ddpm {
namespace {

using ::testing::AllOf;
using testing::bytes_of;
using ::testing::HasSubstr;
using testing::legacy_file;
using testing::legacy_tensor_file;
using testing::message_of;
using testing::pickled;
using testing::pickled_tensor;

/// The message of any refusal; the test fails if the file is taken.
std::string hostile_refusal(const std::string& file) {
  try {
    parse_torch_file(bytes_of(file), "hostile.pth");
  } catch (const std::invalid_argument& error) {
    return error.what();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

struct HostileCase {
  std::string object;  ///< opcodes
  const char* reason;
};

void expect_refused(const std::vector<HostileCase>& cases) {
  for (const auto& [object, reason] : cases) {
    EXPECT_THAT(hostile_refusal(legacy_file(object)),
                AllOf(HasSubstr("hostile.pth"), HasSubstr(reason)));
  }
}

TEST(TorchFileHostileTest, CodeIsNamedAndNeverRun) {
  const std::string command = pickled("touch /tmp/pickled") + "\x85R";
  expect_refused({
      {"cposix\nsystem\n" + command, "class posix.system"},
      {"cos\nsystem\n" + command, "class os.system"},
      {"cbuiltins\neval\n" + command, "class builtins.eval"},
      {"c__builtin__\nexec\n" + command, "class __builtin__.exec"},
      {"csubprocess\nPopen\n" + command, "class subprocess.Popen"},
      {pickled("os") + pickled("system") + "\x93" + command, "class os.system"},
      {"ctorch\nload\n" + command, "class torch.load"},
      {"ctorch.hub\nload\n" + command, "class torch.hub.load"},
      {"ctorch._utils\n_rebuild_tensor_v2.__globals__\n" + command, "class torch._utils."},
      {"ccollections\nOrderedDict.__init__\n)R", "class collections.OrderedDict.__init__"},
      {"cbuiltins\ngetattr\n" + command, "class builtins.getattr"},
      {"cnumpy.core.multiarray\nscalar\n)R", "class numpy.core.multiarray.scalar"},
      {"(" + pickled("x") + "ios\nsystem\n", "class os.system"},
      {"(cos\nsystem\n" + pickled("x") + "o", "class os.system"},
      {"ccollections\nOrderedDict\n)\x81", "expected an opcode that a state dict needs, got 129"},
      {"(icollections\nOrderedDict\n", "expected an opcode that a state dict needs, got 105"},
      {"\x82\x01", "expected an opcode that a state dict needs, got 130"},
      {"Pid\n", "expected an opcode that a state dict needs, got 80"},
      {"I7\n", "expected an opcode that a state dict needs, got 73"},
      {"\x97", "expected an opcode that a state dict needs, got 151"},
  });
}

TEST(TorchFileHostileTest, CallsThatDoNotFitAreRefused) {
  expect_refused({
      {"K\x01)R", "expected a function to call, got a whole number"},
      {"ctorch\nFloatStorage\n)R", "got the type of a storage"},
      {"ccollections\nOrderedDict\nK\x01R", "arguments of a call: expected a tuple"},
      {"ccollections\nOrderedDict\nK\x01\x85R", "OrderedDict: expected a list of pairs"},
      {"ccollections\nOrderedDict\n]K\x01"
       "a\x85R",
       "OrderedDict: expected pairs"},
      {"cbuiltins\nset\n)R", "set: expected a list"},
      {"ctorch\nSize\n)R", "torch.Size: expected a tuple"},
      {"ctorch._utils\n_rebuild_parameter\n)R", "parameter: expected a tensor"},
      {"ctorch._utils\n_rebuild_tensor_v2\n)R", "tensor: expected 6 or 7 parts, got 0"},
      {"ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR", "expected a storage, got None"},
      {"NQ", "id of a storage: expected a tuple"},
      {")Q", "id of a storage: expected ('storage', type, key, location, size)"},
      {"]}b", "expected attributes of an OrderedDict, got those of a list"},
  });
}

TEST(TorchFileHostileTest, StacksMarksAndMemosStayWithinTheirBounds) {
  expect_refused({
      {"", "expected a value on the stack, got none"},
      {"0", "expected a value on the stack, got none"},
      {"t", "expected a mark on the stack, got none"},
      {"(.", "expected a value on the stack, got none"},
      {"K\x01(\x85", "expected 1 values on the stack, got 0"},
      {"K\x01\x87", "expected 3 values on the stack, got 1"},
      {"K\x01q\x05", "expected a memo index of at most 0, got 5"},
      {"K\x01r\xff\xff\xff\xff", "expected a memo index of at most 0, got 4294967295"},
      {std::string("h\0", 2), "expected a memo index under 0, got 0"},
      {"}K\x01"
       "a",
       "expected a list to add to, got a dict"},
      {"]K\x01K\x02s", "expected a dict to add to, got a list"},
      {"](K\x01\x90", "expected a set to add to, got a list"},
      {"}(K\x01u", "expected keys and values in pairs, got 1"},
      {"X\xff\xff\xff\xff", "got a length of 4294967295"},
      {"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "got a length of 18446744073709551615"},
      {"\x8b\xff\xff\xff\xff", "got a length of 4294967295"},
      {"J\x01", "expected 1 bytes more, got the end"},
      {"cos", "expected a line, got the end"},
      {"\x80\x06", "expected protocol 5 or lower, got 6"},
  });
}

TEST(TorchFileHostileTest, TensorsStayWithinTheirStorage) {
  const std::string good = "K\x01K\x01\x85K\x01\x85";
  const auto tensors = parse_torch_file(bytes_of(legacy_tensor_file(good)), "good.pth");
  EXPECT_TRUE(at::equal(tensors.at(0).second, at::full({1}, 2.0F)));
  const std::string huge = "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
  const std::vector<std::pair<std::string, const char*>> cases{
      {"K\x02K\x01\x85K\x01\x85", "expected the elements of a tensor within its 2"},
      {"K\x02))", "expected the elements of a tensor within its 2"},
      {std::string("K\0", 2) + "K\x03\x85K\x01\x85", "within its 2"},
      {std::string("K\0", 2) + "K\x02\x85K\x02\x85", "within its 2"},
      {std::string("K\0", 2) + "K\x02\x85" + huge + "\x85", "within its 2"},
      {huge + "K\x02\x85" + huge + "\x85", "within its 2"},
      {std::string("K\0", 2) + huge + "\x85" + std::string("K\0\x85", 3), "less than 2^63 bytes"},
      {std::string("K\0", 2) + std::string("(K\0", 3) + huge + huge + "t(K\1K\1K\1t",
       "less than 2^63 bytes"},
      {std::string("K\0", 2) + "K\x01\x85)", "strides of a tensor: expected 1"},
      {std::string("K\0", 2) + "J\xff\xff\xff\xff\x85K\x01\x85", "got a negative one"},
      {"J\xff\xff\xff\xffK\x01\x85K\x01\x85", "offset of a tensor"},
      {"NK\x01\x85K\x01\x85", "offset of a tensor"},
      {std::string("K\0", 2) + "N)", "sizes of a tensor: expected a tuple, got None"},
      {std::string("K\0", 2) + "N\x85)", "expected whole numbers from 0 on, got None"}};
  for (const auto& [view, reason] : cases) {
    EXPECT_THAT(hostile_refusal(legacy_tensor_file(view)), HasSubstr(reason));
  }
  EXPECT_THAT(hostile_refusal(legacy_tensor_file(good, "K\x03")), HasSubstr("expected 3 elements"));
  EXPECT_THAT(hostile_refusal(legacy_tensor_file(good, huge)), HasSubstr("elements of 4 bytes"));
  EXPECT_THAT(hostile_refusal(legacy_tensor_file(good, "J\xff\xff\xff\xff")),
              HasSubstr("size of a storage: expected at least 0"));
  EXPECT_THAT(hostile_refusal(legacy_tensor_file(good) + "x"), HasSubstr("1 bytes more"));
}

TEST(TorchFileHostileTest, StoragesOfOneKeyMustAgree) {
  const std::string view = std::string("K\0", 2) + "))";
  EXPECT_THAT(
      hostile_refusal(legacy_file("}" + pickled("a") + pickled_tensor("k", "K\x02", view) + "s" +
                                  pickled("b") + pickled_tensor("k", "K\x03", view) + "s")),
      HasSubstr("storage 'k': expected 2 of Float everywhere, got 3 of Float too"));
  EXPECT_THAT(
      hostile_refusal(legacy_file("}" + pickled("a") + pickled_tensor("k", "K\x02", view) + "s")),
      HasSubstr("storage: expected 'k', got none"));
}

TEST(TorchFileHostileTest, DictsInCirclesAndBombsOfReferencesEnd) {
  // A dict that holds itself; dicts of which each holds the one before many times.
  EXPECT_THAT(hostile_refusal(
                  legacy_file("}q" + std::string("\0", 1) + pickled("a") + std::string("h\0s", 3))),
              HasSubstr("expected a state dict"));
  std::string bomb = "}q" + std::string("\0", 1);
  for (int level = 1; level < 60; ++level) {
    bomb += "}q" + std::string(1, static_cast<char>(level)) + "(";
    for (int i = 0; i < 50; ++i) {
      bomb += pickled(std::to_string(i)) + "h" + std::string(1, static_cast<char>(level - 1));
    }
    bomb += "u";
  }
  EXPECT_THAT(hostile_refusal(legacy_file(bomb)), HasSubstr("expected a state dict"));
}

TEST(TorchFileHostileTest, ValuesAreCountedAgainstTheFile) {
  const std::string megabyte(std::size_t{1} << 20, ']');
  EXPECT_THAT(hostile_refusal(legacy_file(megabyte)),
              HasSubstr("values in proportion to the file's size"));
  const std::string marks(std::size_t{4} << 20, '(');
  EXPECT_THAT(hostile_refusal(legacy_file(marks)), HasSubstr("hostile.pth"));
}

TEST(TorchFileHostileTest, NamesMustBeUtf8AndComeOnce) {
  const std::string keys = std::string("\x80\x02]", 3) + pickled("k") + "a." +
                           testing::number_bytes(1, 8) + std::string(4, '\0');
  const std::string tensor = pickled_tensor("k", "K\x01", std::string("K\0", 2) + "))");
  EXPECT_THAT(hostile_refusal(legacy_file("}" + pickled("\xff") + tensor + "s", keys)),
              HasSubstr("expected UTF-8"));
  EXPECT_THAT(hostile_refusal(legacy_file(
                  "}" + pickled("w") + tensor + "s" + pickled("w") + tensor + "s", keys)),
              HasSubstr("'w': expected it once"));
}

TEST(TorchFileHostileTest, FilesOfOtherKindsAreRefused) {
  for (const std::string& file :
       {std::string(), std::string("PNG"), std::string("\x80"), std::string("\x80\x02}."),
        std::string("PK\x03\x04", 4), "PK\x03\x04" + std::string(100, '\0')}) {
    EXPECT_THAT(hostile_refusal(file), HasSubstr("hostile.pth")) << file.size();
  }
  EXPECT_THAT(hostile_refusal("hello"), HasSubstr("expected a file of torch.save"));
}

}  // namespace
}  // namespace ddpm
