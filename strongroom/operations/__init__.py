"""Operations: one use-case a file, `(settings, request, context) -> report`."""
