#include "ddpm/config/printable.h"

#include <gtest/gtest.h>

namespace ddpm {
namespace {

TEST(PrintableTest, JsonIsOneLine) {
  EXPECT_EQ(describe_json({{"a", "b\n\xff"}}), "{\"a\":\"b\\n\uFFFD\"}");
}

}  // namespace
}  // namespace ddpm
