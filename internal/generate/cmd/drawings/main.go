// Command drawings writes the pictures of the documentation: drawings of
// processes of the examples.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"valence/atom/steps"
	"valence/connectors/all"
	"valence/processes"
	"valence/processes/drawing"
	"valence/processes/loader"
)

// drawn maps each process with a picture to its example.
var drawn = map[string]string{
	"order-sync":       "order-sync",
	"item-price":       "request-reply-lookup",
	"order-intake":     "validate-then-acknowledge",
	"order-approval":   "order-approval",
	"customer-created": "fan-out",
	"take-order":       "nats-orders",
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: drawings EXAMPLES PICTURES")
		os.Exit(2)
	}
	for process, example := range drawn {
		if err := draw(process, filepath.Join(os.Args[1], example), filepath.Join(os.Args[2], process+".svg")); err != nil {
			fmt.Fprintf(os.Stderr, "error: %s: %v\n", process, err)
			os.Exit(1)
		}
	}
}

// draw writes the drawing of a process. Positions in it are relative to the
// folder of the example.
func draw(process, folder, picture string) error {
	files, err := loader.ReadDir(folder)
	if err != nil {
		return err
	}
	for i := range files {
		if files[i].Name, err = filepath.Rel(folder, files[i].Name); err != nil {
			return err
		}
	}
	project, _ := loader.Load(files, &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("")})
	p := project.Processes[process]
	if p == nil {
		return fmt.Errorf("%s has no such process", folder)
	}
	var b bytes.Buffer
	if err := drawing.SVG(&b, project, p); err != nil {
		return err
	}
	return os.WriteFile(picture, b.Bytes(), 0o644)
}
