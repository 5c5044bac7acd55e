// Package importer reads the configuration of other systems and writes
// projects.
//
// A reader per system (benthos.go, camel.go, n8n.go) turns its source into a
// project of the model (model.go); write.go turns the model into files. Parts
// without a counterpart become steps that fail, marked with a TODO, and every
// part of the source is in the report.
package importer

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// The systems whose configuration can be read.
const (
	Benthos = "benthos"
	Camel   = "camel"
	N8N     = "n8n"
)

// MaxSource is the size of the largest source in bytes.
const MaxSource = 20 << 20

// File is a file of a project.
type File struct{ Name, Text string }

// Problem is an error that a linter found in the files.
type Problem struct {
	File string
	Line int
	Code string
	Msg  string
}

// Linter returns the errors of a project.
type Linter func([]File) []Problem

// Imported is a project with the report of its import.
type Imported struct {
	Files  []File
	Report *Report
}

// Systems returns the systems whose configuration can be read.
func Systems() []string { return slices.Sorted(maps.Keys(readers)) }

var readers = map[string]func(*reader, []*yaml.Node) error{
	Benthos: readBenthos,
	Camel:   readCamel,
	N8N:     readN8N,
}

// Import reads a source. name is its path, which appears in positions; kind is
// the system, or empty to recognize it. lint checks the result: a step with an
// error becomes a TODO, so that the project always lints.
func Import(name, kind string, text []byte, lint Linter) (*Imported, error) {
	if len(text) > MaxSource {
		return nil, fmt.Errorf("%s is larger than 20 MiB", name)
	}
	roots, err := parse(name, text)
	if err != nil {
		return nil, err
	}
	if kind == "" {
		if kind = recognize(roots); kind == "" {
			return nil, fmt.Errorf("%s: the file is not recognized as a configuration of Benthos, a route of Camel or a workflow of n8n", name)
		}
	}
	read := readers[kind]
	if read == nil {
		return nil, fmt.Errorf("projects of %s cannot be read yet", kind)
	}
	r := newReader(name, kind)
	if err := read(r, roots); err != nil {
		return nil, err
	}
	if len(r.processes) == 0 {
		return nil, fmt.Errorf("%s: there is nothing from which a process can be made", name)
	}
	files, err := r.finish(lint)
	if err != nil {
		return nil, err
	}
	return &Imported{files, r.report}, nil
}

// recognize returns the system that a source is of, or "".
func recognize(roots []*yaml.Node) string {
	for _, root := range roots {
		if root.Kind == yaml.SequenceNode && len(root.Content) > 0 && child(root.Content[0], "nodes") != nil {
			return N8N
		}
		if root.Kind == yaml.SequenceNode {
			for _, e := range root.Content {
				for _, key := range camelRoots {
					if child(e, key) != nil {
						return Camel
					}
				}
			}
		}
		if child(root, "nodes") != nil && child(root, "connections") != nil {
			return N8N
		}
		if api := child(root, "apiVersion"); api != nil && strings.Contains(api.Value, "camel") {
			return Camel
		}
		for _, key := range benthosRoots {
			if child(root, key) != nil {
				return Benthos
			}
		}
	}
	return ""
}

var (
	benthosRoots = []string{"input", "pipeline", "output", "processor_resources", "input_resources", "output_resources"}
	camelRoots   = []string{"route", "from", "rest", "routeConfiguration", "route-configuration", "beans", "onException", "on-exception", "routeTemplate", "route-template", "intercept", "errorHandler", "error-handler"}
)

// errNothing reports an empty source.
var errNothing = errors.New("the file is empty")

// baseName returns the name of a source without folders and extensions.
func baseName(name string) string {
	base, _, _ := strings.Cut(filepath.Base(name), ".")
	return base
}
