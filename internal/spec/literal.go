package spec

import "strings"

// Literal reports whether a setting is present and contains no expression.
func Literal(s string) bool { return s != "" && !strings.Contains(s, "${") }
