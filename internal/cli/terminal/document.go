package terminal

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"valence/internal/clierror"
)

// ReadDocument reads the value of --document: @FILE, - for standard input, or
// the text itself. ok is false if the value is empty.
func ReadDocument(value string, stdin io.Reader) (text []byte, ok bool, err error) {
	switch {
	case value == "":
		return nil, false, nil
	case value == "-":
		text, err = io.ReadAll(stdin)
	case strings.HasPrefix(value, "@"):
		text, err = os.ReadFile(value[1:])
	default:
		return []byte(value), true, nil
	}
	if err != nil {
		return nil, false, clierror.Usage("--document @FILE with a readable file", "%v", err)
	}
	return text, true, nil
}

// MediaType returns the media type for the extension of a file name; empty
// means JSON.
func MediaType(file string) string {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".xml":
		return "application/xml"
	case ".csv":
		return "text/csv"
	case ".txt":
		return "text/plain"
	}
	return ""
}
