package server

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"valence/internal/access"
	"valence/internal/clierror"
	"valence/internal/fault"
	"valence/processes"
)

// values are the values and secrets that a project needs.
type values struct {
	env, secrets map[string]string
	environment  *processes.Environment // nil: environment variables
}

// missingValue is a value that was not found, with the positions that use it.
type missingValue struct {
	need   processes.Need
	at     []fault.Pos
	reason string
}

// resolveValues finds the values of a project: in its environment component of
// that name or, if name is empty, in environment variables. The error lists
// all missing values.
func resolveValues(p *processes.Project, name string, policy *access.Policy) (*values, error) {
	v, missing, err := findValues(p, name, policy)
	if err == nil && len(missing) > 0 {
		err = missingError(missing, name)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Values returns the environment values and secrets of a project that can be
// found, and the names of those that cannot.
func Values(p *processes.Project, environment string, policy *access.Policy) (env, secrets map[string]string, missing []string, err error) {
	v, absent, err := findValues(p, environment, policy)
	if err != nil {
		return nil, nil, nil, err
	}
	return v.env, v.secrets, slices.Sorted(maps.Keys(absent)), nil
}

// findValues returns the values of a project and those that are missing.
func findValues(p *processes.Project, name string, policy *access.Policy) (*values, map[string]*missingValue, error) {
	v := &values{env: map[string]string{}, secrets: map[string]string{}}
	lookUp := func(need processes.Need) (string, string) { return fromVariables(need, policy) }
	if name != "" {
		environment, ok := p.Environments[name]
		if !ok {
			hint := "declare it: environment: " + name
			if names := slices.Sorted(maps.Keys(p.Environments)); len(names) > 0 {
				hint = "--environment " + strings.Join(names, ", or --environment ")
			}
			return nil, nil, clierror.Usage(hint, "the project has no environment %s", name)
		}
		v.environment = environment
		lookUp = func(need processes.Need) (string, string) { return fromEnvironment(environment, need, policy) }
		maps.Copy(v.env, environment.Values)
	}
	missing := map[string]*missingValue{}
	for _, need := range p.Needs {
		key := need.Kind + " " + need.Name
		if m := missing[key]; m != nil {
			m.at = append(m.at, need.Pos)
			continue
		}
		value, reason := lookUp(need)
		switch {
		case reason != "":
			missing[key] = &missingValue{need, []fault.Pos{need.Pos}, reason}
		case need.Kind == "secret":
			v.secrets[need.Name] = value
		default:
			v.env[need.Name] = value
		}
	}
	return v, missing, nil
}

func missingError(missing map[string]*missingValue, environment string) error {
	var b strings.Builder
	if len(missing) == 1 {
		b.WriteString("1 value of this project is missing:")
	} else {
		fmt.Fprintf(&b, "%d values of this project are missing:", len(missing))
	}
	var names []string
	for _, key := range slices.Sorted(maps.Keys(missing)) {
		m := missing[key]
		positions := make([]string, len(m.at))
		for i, at := range m.at {
			positions[i] = at.String()
		}
		slices.Sort(positions)
		fmt.Fprintf(&b, "\n    %s, used at %s: %s", key, strings.Join(positions, ", "), m.reason)
		names = append(names, m.need.Name)
	}
	if environment != "" {
		return clierror.Failed("add them to environment: "+environment, "%s", b.String())
	}
	slices.Sort(names)
	return clierror.Failed("set "+strings.Join(names, ", ")+" (for a secret in a file, set NAME_FILE), or choose --environment", "%s", b.String())
}

// localValue looks for a value in an environment component, if there is one,
// and then in environment variables, as far as the policy allows. reason says
// why it was not found.
func localValue(need processes.Need, e *processes.Environment, policy *access.Policy) (value, reason string) {
	if e == nil {
		return fromVariables(need, policy)
	}
	if value, reason = fromEnvironment(e, need, policy); reason == "" {
		return value, ""
	}
	value, elsewhere := fromVariables(need, policy)
	if _, declared := e.Secrets[need.Name]; !declared || need.Kind != "secret" || elsewhere == "" {
		return value, elsewhere
	}
	return "", reason
}

// explain returns why a value may not be read, and how to allow it.
func explain(err error) string {
	var refusal *access.Refusal
	if errors.As(err, &refusal) {
		return refusal.Msg + "; " + refusal.Hint
	}
	return err.Error()
}

// fromVariables looks for a value in the environment variable NAME and, for
// secrets, in the file named by NAME_FILE.
func fromVariables(need processes.Need, policy *access.Policy) (value, reason string) {
	if err := policy.Variable(need.Name); err != nil {
		return "", explain(err)
	}
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
		return readSecret(path) // chosen by the operator who set the variable
	}
	return "", "neither the variable nor " + need.Name + "_FILE is set"
}

func fromEnvironment(e *processes.Environment, need processes.Need, policy *access.Policy) (value, reason string) {
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
		if err := policy.CheckSecretFile(source.File); err != nil {
			return "", explain(err)
		}
		return readSecret(source.File)
	}
	if err := policy.Variable(source.Variable); err != nil {
		return "", explain(err)
	}
	if value = os.Getenv(source.Variable); value == "" {
		return "", "the variable " + source.Variable + " is not set"
	}
	return value, ""
}

// readSecret reads a secret from a file, without trailing line ends.
func readSecret(path string) (value, reason string) {
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
