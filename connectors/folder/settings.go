package folder

import (
	"path"
	"time"

	"valence/connectors"
	"valence/connectors/content"
	"valence/internal/spec"
)

// WorkFolder is the default name of the folder for files that are being
// accepted.
const WorkFolder = ".work"

// Settings are the settings of a subscription to a folder.
type Settings struct {
	Folder, Pattern       string
	Format                content.Format
	Ignore                []string
	StableFor, Every      time.Duration
	Archive, Failed, Work string
	Delete                bool
}

// Subscription declares the subscription to a folder. every is the default of
// `every:`.
func Subscription(every time.Duration) *connectors.Subscription {
	return &connectors.Subscription{
		Doc: "Watches a folder. A file that has not changed for `stable_for` is moved to the work folder, and archived or deleted when its message is on " +
			"disk. Each file is accepted exactly once, even after a crash: files in the work folder are continued at the next start. A file that the " +
			"process rejects, or that cannot be parsed, is moved to the failed folder. Only one atom may watch a folder.",
		Sample:    "subscribe:\n  connection: inbox\n  folder: orders\n  pattern: \"*.json\"\n  archive: orders/done\n",
		NewWith:   func() any { return &Settings{} },
		With:      fields(every),
		Check:     func(v any) []string { return v.(*Settings).check() },
		Exclusive: func(any) bool { return true },
		Props:     "The process reads `name`, `path`, `size` and `modified` of the file as `props`.",
	}
}

func fields(every time.Duration) []spec.Field {
	return append([]spec.Field{
		spec.String("folder", func(s *Settings) *string { return &s.Folder }, "The folder to watch, relative to the folder of the connection. Subfolders are not watched.").Or("."),
		spec.String("pattern", func(s *Settings) *string { return &s.Pattern }, "Pattern of file names, with the wildcards `*`, `?` and `[a-z]`.").Or("*"),
		spec.Strings("ignore", func(s *Settings) *[]string { return &s.Ignore }, "Patterns of names to ignore, such as files that are still being written.").Or([]string{".*", "~*", "*.tmp", "*.part", "*.filepart"}),
		spec.Duration("stable_for", func(s *Settings) *time.Duration { return &s.StableFor }, "How long the size and the modification time of a file must not change before it is accepted. `0s` if complete files are renamed into the folder.").Or(2 * time.Second).Max(24 * time.Hour),
		spec.Duration("every", func(s *Settings) *time.Duration { return &s.Every }, "How often to check the folder.").Or(every).Min(10 * time.Millisecond).Max(24 * time.Hour),
		spec.String("archive", func(s *Settings) *string { return &s.Archive }, "Folder for accepted files."),
		spec.Bool("delete", func(s *Settings) *bool { return &s.Delete }, "Delete accepted files instead of archiving them."),
		spec.String("failed", func(s *Settings) *string { return &s.Failed }, "Folder for rejected files.").OrAs("", "`failed` in the folder"),
		spec.String("work", func(s *Settings) *string { return &s.Work }, "Folder for files that are being accepted. It must be on the same file system.").OrAs("", "`"+WorkFolder+"` in the folder"),
	}, content.Fields(func(s *Settings) *content.Format { return &s.Format })...)
}

// check returns the problems of the settings. Values may be expressions.
func (s *Settings) check() []string {
	wrong := s.Format.Check()
	if (s.Archive == "") != s.Delete {
		wrong = append(wrong, "set either `archive:` or `delete: true`, so that accepted files leave the folder")
	}
	for _, p := range append([]string{s.Pattern}, s.Ignore...) {
		if _, err := path.Match(p, ""); err != nil {
			wrong = append(wrong, "invalid pattern `"+p+"`")
		}
	}
	for _, dir := range []struct{ key, path string }{{"folder", s.Folder}, {"archive", s.Archive}, {"failed", s.Failed}, {"work", s.Work}} {
		if why := outside(dir.path); why != "" {
			wrong = append(wrong, "`"+dir.key+"` "+why)
		}
	}
	return wrong
}

func (s *Settings) workPath() string {
	if s.Work != "" {
		return s.Work
	}
	return path.Join(s.Folder, WorkFolder)
}

func (s *Settings) failedPath() string {
	if s.Failed != "" {
		return s.Failed
	}
	return path.Join(s.Folder, "failed")
}

func (s *Settings) matches(name string) bool {
	for _, p := range s.Ignore {
		if skip, _ := path.Match(p, name); skip {
			return false
		}
	}
	ok, _ := path.Match(s.Pattern, name)
	return ok
}
