/* passwords.c: POST /passwords: the yescrypt hash of a password, tens of milliseconds of CPU and 16 MiB by intent.
 *
 * It never waits, and so would hold a loop as surely as a sleep does: a pool with as many threads as CPUs is its
 * place.  crypt_data is 32 KiB, too much for a stack that should stay small: it is allocated, and wiped before it
 * is freed.
 */
#include "atlas.h"

#include <crypt.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int failed(ol_req *r)
{
	int error = errno;

	ol_log(r, OL_LOG_ERROR, "crypt: %s", strerror(error));
	return -error;
}

int hash_password(ol_req *r)
{
	const char *password = body_string(r, "password", 1, CRYPT_MAX_PASSPHRASE_SIZE - 1), *hash = NULL;
	struct crypt_data *data;
	char *salt;
	int rc;

	if (!password)
		return -1;
	if (strlen(password) >= CRYPT_MAX_PASSPHRASE_SIZE) /* few characters, many bytes */
		return ol_invalid(r, "body", "password", "ensure this value has at most 511 bytes", "value_error");
	data = calloc(1, sizeof(*data));
	salt = crypt_gensalt_ra("$y$", 0, NULL, 0);
	if (data && salt)
		hash = crypt_rn(password, salt, data, sizeof(*data));
	rc = hash ? ol_json_new(r, 200, json_pack("{ss}", "hash", hash)) : failed(r);
	if (data)
		explicit_bzero(data, sizeof(*data));
	free(data);
	free(salt);
	return rc;
}
