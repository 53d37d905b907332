# offloop.m4: the two questions configure asks of a compiler.

# OFL_APPEND_FLAGS(VARIABLE, FLAGS...)
# Appends to VARIABLE those FLAGS (a blank-separated list) that compiler and linker take without a word.
AC_DEFUN([OFL_APPEND_FLAGS], [
	AC_LANG_PUSH([C])
	for ofl_flag in m4_normalize([$2]); do
		AS_VAR_PUSHDEF([ofl_cache], [ofl_cv_flag_$ofl_flag])
		AC_CACHE_CHECK([whether $CC takes $ofl_flag], [ofl_cache], [
			ofl_saved_CFLAGS=$CFLAGS
			CFLAGS="$CFLAGS -Werror $ofl_flag"
			AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <stdio.h>]], [[puts("")]])],
				[AS_VAR_SET([ofl_cache], [yes])], [AS_VAR_SET([ofl_cache], [no])])
			CFLAGS=$ofl_saved_CFLAGS
		])
		AS_VAR_IF([ofl_cache], [yes], [AS_VAR_APPEND([$1], [" $ofl_flag"])])
		AS_VAR_POPDEF([ofl_cache])
	done
	AC_LANG_POP([C])
])

# OFL_NEED_FLAGS(VARIABLE, FLAGS)
# Appends FLAGS, all together, to VARIABLE; a compiler that does not link with them is an error.
AC_DEFUN([OFL_NEED_FLAGS], [
	AC_LANG_PUSH([C])
	AC_MSG_CHECKING([whether $CC links with $2])
	ofl_saved_CFLAGS=$CFLAGS
	CFLAGS="$CFLAGS $2"
	AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AC_MSG_RESULT([yes])],
		[AC_MSG_RESULT([no])
		AC_MSG_ERROR([$CC does not link with $2])])
	CFLAGS=$ofl_saved_CFLAGS
	AS_VAR_APPEND([$1], [" $2"])
	AC_LANG_POP([C])
])
