// Command connectors writes connectors/all/all.go.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"valence/internal/generate"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: connectors FOLDER")
		os.Exit(2)
	}
	source, err := generate.Connectors(os.Args[1])
	if err == nil {
		err = os.WriteFile(filepath.Join(os.Args[1], "all", "all.go"), source, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
