// Command metrics writes the list of the metrics.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"valence/internal/metrics"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: metrics FILE")
		os.Exit(2)
	}
	var b bytes.Buffer
	b.WriteString("# Metrics\n\nWhat `/metrics` of the admin plane shows, in the Prometheus text format. It asks for the admin token like everything there:\n`Authorization: Bearer` with the content of `admin.token` in the data folder. This page is generated from the declarations.\n\n")
	b.WriteString("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, d := range metrics.Documented() {
		labels := "–"
		if len(d.Labels) > 0 {
			labels = "`" + strings.Join(d.Labels, "` `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, labels, d.Help)
	}
	if err := os.WriteFile(os.Args[1], b.Bytes(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
