#include "ddpm/core/resources.h"

#include <gtest/gtest.h>

#include <cstring>
#include <sys/mman.h>
#include <system_error>

namespace ddpm {
namespace {

TEST(ResourcesTest, ResidentMemoryGrowsWithWhatIsTouched) {
  constexpr size_t kSize = size_t{64} << 20;
  void* const pages =  // new pages, where malloc may have touched ones
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  const uint64_t before = resident_memory_bytes();
  std::memset(pages, 1, kSize);
  const uint64_t after = resident_memory_bytes();
  munmap(pages, kSize);
  EXPECT_GT(before, 0U);
  EXPECT_NEAR(static_cast<double>(after - before), kSize, kSize / 8.0);
}

TEST(ResourcesTest, FreeDiskIsThatOfThePath) {
  EXPECT_GT(free_disk_bytes(::testing::TempDir()), 0U);
  EXPECT_EQ(free_disk_bytes("/proc"), 0U);
  EXPECT_THROW(free_disk_bytes("/no/such/folder"), std::system_error);
}

}  // namespace
}  // namespace ddpm
