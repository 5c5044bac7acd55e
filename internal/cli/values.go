package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strings"

	"valence/internal/fault"
	"valence/processes"
)

// values are what a project reads of the place it runs in.
type values struct {
	env, secrets map[string]string
	environment  *processes.Environment // nil: the machine's variables
}

// missing is a value that is not there, with the places that need it.
type missing struct {
	need processes.Need
	at   []fault.Pos
	why  string
}

// valuesOf finds the values of a project, all that are missing at once: in
// the environment of the project with this name, or, with "", in the
// machine's variables.
func valuesOf(p *processes.Project, name string) (*values, error) {
	v := &values{env: map[string]string{}, secrets: map[string]string{}}
	look := fromMachine
	if name != "" {
		environment, ok := p.Environments[name]
		if !ok {
			names := sortedKeys(p.Environments)
			try := "declare it: environment: " + name
			if len(names) > 0 {
				try = "--environment " + strings.Join(names, ", or --environment ")
			}
			return nil, usage(try, "the project has no environment %s", name)
		}
		v.environment = environment
		look = func(need processes.Need) (string, string) { return fromEnvironment(environment, need) }
		for key, value := range environment.Values {
			v.env[key] = value
		}
	}
	lacking := map[string]*missing{}
	for _, need := range p.Needs() {
		key := need.Kind + " " + need.Name
		if m := lacking[key]; m != nil {
			m.at = append(m.at, need.Pos)
			continue
		}
		value, why := look(need)
		switch {
		case why != "":
			lacking[key] = &missing{need, []fault.Pos{need.Pos}, why}
		case need.Kind == "secret":
			v.secrets[need.Name] = value
		default:
			v.env[need.Name] = value
		}
	}
	if len(lacking) > 0 {
		return nil, lackingError(lacking, name)
	}
	return v, nil
}

func lackingError(lacking map[string]*missing, environment string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of this project %s not known:", plural(len(lacking), "value", "values"), map[bool]string{true: "is", false: "are"}[len(lacking) == 1])
	var set []string
	for _, key := range sortedKeys(lacking) {
		m := lacking[key]
		places := make([]string, len(m.at))
		for i, at := range m.at {
			places[i] = at.String()
		}
		sort.Strings(places)
		fmt.Fprintf(&b, "\n    %s, used at %s: %s", key, strings.Join(places, ", "), m.why)
		set = append(set, m.need.Name)
	}
	if environment != "" {
		return failed("add them to environment: "+environment, "%s", b.String())
	}
	sort.Strings(set)
	return failed("set "+strings.Join(set, ", ")+" (a secret may be in a file: NAME_FILE), or choose --environment", "%s", b.String())
}

// fromMachine looks into the variables of the process: NAME, for secrets also
// NAME_FILE. why tells what is missing.
func fromMachine(need processes.Need) (value, why string) {
	if value, ok := os.LookupEnv(need.Name); ok {
		if need.Kind == "secret" && value == "" {
			return "", "the variable is empty"
		}
		return value, ""
	}
	if need.Kind != "secret" {
		return "", "the variable is not set"
	}
	if path := os.Getenv(need.Name + "_FILE"); path != "" {
		return secretFile(path)
	}
	return "", "neither the variable nor " + need.Name + "_FILE is set"
}

func fromEnvironment(e *processes.Environment, need processes.Need) (value, why string) {
	if need.Kind != "secret" {
		if value, ok := e.Values[need.Name]; ok {
			return value, ""
		}
		return "", "not in its values"
	}
	source, ok := e.Secrets[need.Name]
	switch {
	case !ok:
		return "", "not in its secrets"
	case source.File != "":
		return secretFile(source.File)
	}
	if value = os.Getenv(source.Variable); value == "" {
		return "", "the variable " + source.Variable + " is not set"
	}
	return value, ""
}

// secretFile reads a secret, without the line end that editors leave.
func secretFile(path string) (value, why string) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "there is no file " + path
	case err != nil:
		return "", err.Error()
	}
	value = strings.TrimRight(string(text), "\r\n")
	if value == "" {
		return "", "the file " + path + " is empty"
	}
	return value, ""
}
