package language

import "valence/internal/spec"

// Function holds the settings of a function.
type Function struct {
	Description string
	Params      []string
	Returns     any
}

// FunctionFields declares the keys of a function.
var FunctionFields = []spec.Field{
	spec.String("function", func(f *Function) *string { return new(string) }, "Name of the function.").Eg("net").Required(),
	descriptionField(func(f *Function) *string { return &f.Description }),
	spec.Strings("params", func(f *Function) *[]string { return &f.Params }, "Names of the parameters.").Eg("[gross, rate]"),
	spec.Any("returns", func(f *Function) *any { return &f.Returns }, "Expression over the parameters. It may call other functions, but not itself.").Type("expression").Eg("${round(gross / (1 + rate), 2)}").Required(),
}

// Table holds the settings of a lookup table.
type Table struct {
	Description string
	Key         []string
	File        string
	Delimiter   string
	Rows        any
}

// TableFields declares the keys of a lookup table.
var TableFields = []spec.Field{
	spec.String("table", func(t *Table) *string { return new(string) }, "Name of the table.").Eg("countries").Required(),
	descriptionField(func(t *Table) *string { return &t.Description }),
	spec.Strings("key", func(t *Table) *[]string { return &t.Key }, "The column, or list of columns, that identifies a row.").Eg("code").Required(),
	spec.String("file", func(t *Table) *string { return &t.File }, "Path of a CSV file with a header, or of a JSON file with a list of objects, relative to this file.").Eg("tables/countries.csv"),
	spec.String("delimiter", func(t *Table) *string { return &t.Delimiter }, "CSV: column separator.").Or(","),
	spec.Any("rows", func(t *Table) *any { return &t.Rows }, "The rows, instead of `file:`.").Type("list of maps").Eg("[{ code: PT, name: Portugal }]"),
}
