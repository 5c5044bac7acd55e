package datafolder

import (
	"errors"
	"io/fs"
)

// FileReport is the result of the check of a file or folder.
type FileReport struct {
	File     string   `json:"file"` // path in the data folder
	Bytes    int64    `json:"bytes"`
	Items    int      `json:"items,omitempty"`    // files of a folder, or entries of a file
	Problems []string `json:"problems,omitempty"` // empty: all is well
	Note     string   `json:"note,omitempty"`
	// Unreadable is set if the file could not be read for a reason that says
	// nothing about its content, such as its permissions.
	Unreadable bool `json:"unreadable,omitempty"`
}

// Fail adds an error to the report.
func (r *FileReport) Fail(err error) {
	if err == nil {
		return
	}
	r.Problems = append(r.Problems, err.Error())
	r.Unreadable = r.Unreadable || errors.Is(err, fs.ErrPermission)
}

// Checker receives the results of a check.
type Checker struct {
	// Report is called for each file or folder, when it has been read.
	Report func(FileReport)
	// Progress is called now and then with the file that is being read.
	Progress func(file string)
}

// CheckInventory checks and reports the inventory of a folder, and returns it. A
// folder without one is not reported.
func (c Checker) CheckInventory(folder string) *Inventory {
	v, err := ReadInventory(folder)
	r := FileReport{File: InventoryFile}
	switch {
	case err != nil:
		r.Fail(err)
	case v == nil:
		return nil
	default:
		r.Items = len(v.Keys) + len(v.Segments) + 1
		r.Problems = v.Missing(folder)
	}
	c.Report(r)
	return v
}
