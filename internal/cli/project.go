package cli

import (
	"fmt"
	"io"
	"path/filepath"

	"valence/atom/steps"
	"valence/connectors/all"
	"valence/internal/fault"
	"valence/processes"
)

// catalog is what projects may use: every step and every connector.
func catalog() *processes.Catalog {
	return &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry(version)}
}

// loaded is a project as it was read. Project is set even where there are
// errors, as far as it could be understood.
type loaded struct {
	project  *processes.Project
	problems fault.Problems
	files    []processes.File
}

// load reads a project; problems in its files are no error.
func load(paths []string) (*loaded, error) {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	files, err := processes.ReadDir(paths...)
	if err != nil {
		return nil, failed("the folder with the project's YAML files", "%v", err)
	}
	if len(files) == 0 {
		return nil, wrong("valence new DIR, for a project to begin with; or valence join, where a control plane deploys to this machine", "there is no YAML file in %s", joined(paths))
	}
	project, problems := processes.Load(files, catalog())
	return &loaded{project, problems, files}, nil
}

// loadRight reads a project that must have no errors; if it has, they are
// printed.
func loadRight(paths []string, errs io.Writer) (*loaded, error) {
	p, err := load(paths)
	if err != nil {
		return nil, err
	}
	for _, problem := range p.problems {
		fmt.Fprintln(errs, problem.Error())
	}
	if p.problems.HasErrors() {
		errors, _ := tally(p.problems)
		return nil, wrong("correct them; valence lint shows them again", "the project has %s", plural(errors, "error", "errors"))
	}
	return p, nil
}

func joined(paths []string) string {
	text := ""
	for i, p := range paths {
		if i > 0 {
			text += ", "
		}
		text += p
	}
	return text
}

// fileURI is a path as SARIF names files.
func fileURI(path string) string { return filepath.ToSlash(path) }
