"""The DRA plugin API: claims prepared and unprepared by a driver."""
