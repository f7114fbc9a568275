// Package ops holds the operators that package exec runs, one family a file. Each file registers its operators in an init
// function at its end: deleting the file deletes the operators, and a new operator is a new file.
package ops
