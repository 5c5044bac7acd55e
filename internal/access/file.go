package access

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"valence/internal/egress"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/strictyaml"
)

// CodePolicy is the code of problems in the file.
const CodePolicy fault.Code = "policy"

// Fields declares the keys of the file.
var Fields = []spec.Field{
	spec.Strings("connectors", func(l *lists) *[]string { return &l.Connectors }, "Connectors that packages may use. All by default.").Eg("[http]"),
	spec.Strings("hosts", func(l *lists) *[]string { return &l.Hosts }, "Hosts that packages may connect to: a name, `*.example.com` for the names below, an address or a network; a name or an address may be followed by a port. All by default.").Eg("[erp.example]"),
	spec.Strings("roots", func(l *lists) *[]string { return &l.Roots }, "Folders of the machine that packages may use, with everything in them. None by default.").Eg("[/var/spool/orders]"),
	spec.Strings("variables", func(l *lists) *[]string { return &l.Variables }, "Environment variables of the machine that packages may read as values and secrets; for a secret also the file named by `NAME_FILE`. A trailing `*` stands for the rest of a name. None by default.").Eg("[ERP_PASSWORD]"),
	spec.Strings("secret_files", func(l *lists) *[]string { return &l.SecretFiles }, "Files that packages may read as secrets, certificates or keys, or folders of such files. None by default.").Eg("[/run/secrets/erp]"),
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\*?$|^\*$`)

// checks returns why an entry of a key is not valid, or "".
var checks = map[string]func(entry string) string{
	"hosts": func(e string) string {
		if _, err := egress.ParseHosts([]string{e}); err != nil {
			return err.Error()
		}
		return ""
	},
	"roots":        checkAbsolute,
	"secret_files": checkAbsolute,
	"variables": func(e string) string {
		if !variableName.MatchString(e) {
			return "`" + spec.Clip(e) + "` is not the name of a variable"
		}
		return ""
	},
}

func checkAbsolute(path string) string {
	if !filepath.IsAbs(path) {
		return "`" + spec.Clip(path) + "` must be an absolute path"
	}
	return ""
}

// parse sets the lists from the text of the file.
func (p *Policy) parse(name string, text []byte, connectors []string) error {
	src, roots := strictyaml.Read(name, text)
	if len(src.Problems) == 0 && len(roots) > 1 {
		src.Report(roots[1].Line, roots[1].Column, CodePolicy, "the policy has more than one document", "remove the lines that start with `---`")
	}
	if len(src.Problems) > 0 {
		return src.Problems
	}
	if len(roots) == 0 || roots[0].Kind == 0 || spec.ShapeOf(roots[0]) == spec.NullShape && roots[0].Value == "" {
		return nil // only comments
	}
	root := roots[0]
	if src.Check(root) {
		d := spec.Decoder{File: name, Report: func(f *fault.Problem) { src.Problems = append(src.Problems, f) }}
		d.Mapping(root, &spec.Keys{What: "the policy", Fields: Fields, Target: &p.list})
	}
	for i := 0; len(src.Problems) == 0 && i+1 < len(root.Content); i += 2 {
		check := checks[root.Content[i].Value]
		for _, item := range spec.Items(root.Content[i+1]) {
			if check == nil {
				break
			}
			if why := check(item.Value); why != "" {
				src.Report(item.Line, item.Column, CodePolicy, why, "see `"+root.Content[i].Value+":` in the reference of "+File)
			}
		}
		for _, item := range spec.Items(root.Content[i+1]) {
			if root.Content[i].Value == "connectors" && len(connectors) > 0 && !slices.Contains(connectors, item.Value) {
				src.Report(item.Line, item.Column, CodePolicy, "there is no connector `"+spec.Clip(item.Value)+"`", spec.Suggestion(item.Value, connectors))
			}
		}
	}
	if len(src.Problems) > 0 {
		return src.Problems
	}
	if p.list.Hosts != nil {
		hosts, err := egress.ParseHosts(p.list.Hosts)
		if err != nil {
			return err
		}
		p.hosts = hosts
		p.limits = []limit{{p.hosts, refuseHost}}
	}
	return nil
}

// Describe returns the keys of the file, each followed by its entries or its
// default, as attributes of a log line.
func (p *Policy) Describe() []any {
	text := func(list []string, otherwise string) string {
		if len(list) > 0 {
			return strings.Join(list, ", ")
		}
		if list != nil {
			return "none"
		}
		return otherwise
	}
	return []any{
		"connectors", text(p.list.Connectors, "all"), "hosts", text(p.list.Hosts, "all"), "roots", text(p.list.Roots, "none"),
		"variables", text(p.list.Variables, "none"), "secret_files", text(p.list.SecretFiles, "none"),
	}
}
