/* fuzz_elf.c: any bytes as an ELF file: what is found lies within, and looking for it reads nothing else. */
#include "elf_file.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct elf_file *f, uint64_t address)
{
	uint64_t offset = 0;
	const char *name = elf_file_function(f, address, &offset);

	if (name && (offset > address || strlen(name) == 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct elf_file *f = elf_file_read(data, size);
	char id[BUILD_ID_TEXT];

	if (elf_notes_build_id(data, size, size % 2 ? 4 : 8, id) && strlen(id) % 2)
		abort();
	if (!f)
		return 0;
	if (strlen(elf_file_build_id(f)) >= BUILD_ID_TEXT)
		abort();
	for (uint64_t address = 1; address; address <<= 1) {
		look(f, address);
		look(f, address + 0x123);
	}
	for (size_t i = 0; i + 8 <= size && i < 4096; i += 8) {
		uint64_t address;

		memcpy(&address, data + i, sizeof(address));
		look(f, address);
	}
	elf_file_free(f);
	return 0;
}
